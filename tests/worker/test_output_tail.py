from hypothesis import given
from hypothesis import strategies as st
from kdaif_worker.child_environment import Secrets, child_environment
from kdaif_worker.output_tail import MOST_BYTES, MOST_LINES, OutputTail

ENVIRONMENT = {
    "PATH": "/bin",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "0",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG",
    "AWS_REGION": "eu-central-1",
    "KDAIF_REDIS_URL": "rediss://worker:hunter2hunter2@queue:6379/0",
    "DATABASE_PASSWORD": "correct horse",
    "SOME_TOKEN": "abc",
    "CHAOS_DIR": "/tmp/chaos",
}
SECRETS = Secrets(ENVIRONMENT)


def tail_of(*chunks: bytes) -> tuple[str, list[str]]:
    shown: list[str] = []
    tail = OutputTail(SECRETS.blanked, shown.append)
    for chunk in chunks:
        tail.add(chunk)
    return tail.text(), shown


@given(st.lists(st.binary(max_size=3000), max_size=12), st.integers(1, 40))
def test_any_bytes_give_a_bounded_text(chunks: list[bytes], times: int) -> None:
    text, shown = tail_of(*chunks * times)
    assert len(text.encode()) <= MOST_BYTES
    assert len(text.split("\n")) <= MOST_LINES
    assert all(letter.isprintable() or letter in "\t\n" for letter in text)
    assert all("\n" not in line for line in shown)


def test_the_end_is_kept_and_a_progress_bar_leaves_its_last_state() -> None:
    text, shown = tail_of(b"first\n" * 100, b"10 %\r55 %\r", b"100 %\r\nlast words without an end")
    assert text.endswith("first\n100 %\nlast words without an end")
    assert shown[-1] == "100 %"


def test_one_endless_line_is_cut_and_does_no_harm() -> None:
    text, shown = tail_of(*[b"x" * 65_536] * 20, b"\nthe end\n")
    assert text.endswith("x\nthe end")
    assert len(text.encode()) <= MOST_BYTES
    assert [len(line) for line in shown] == [4096, 7]


def test_secrets_of_the_worker_are_blanked_wherever_a_chunk_ends() -> None:
    said = b"key wJalrXUtnFEMI/K7MDENG, url rediss://worker:hunter2hunter2@queue, correct horse\n"
    for cut in range(len(said)):
        text, shown = tail_of(said[:cut], said[cut:])
        assert text == "key ***, url rediss://worker:***@queue, ***"
        assert shown == [text]


def test_short_values_are_left_alone() -> None:
    assert SECRETS.blanked("abc of names") == "abc of names"


def test_a_child_sees_what_it_needs_and_no_more() -> None:
    plain = child_environment(ENVIRONMENT, reads_s3=False, also=())
    assert plain.keys() == {"PATH", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"}
    with_store = child_environment(ENVIRONMENT, reads_s3=True, also=("CHAOS_DIR",))
    assert with_store.keys() - plain.keys() == {"AWS_SECRET_ACCESS_KEY", "AWS_REGION", "CHAOS_DIR"}

import pytest
from kdaif_worker.crash_loop import CrashLoop

from kdaif.errors import FailureReason


def loop() -> CrashLoop:
    return CrashLoop(first_pause_s=4.0, jitter=lambda: 1.0)


def dies(crashes: CrashLoop, job: str, seconds: float = 1.0, rounds: int = 0) -> float:
    crashes.died(job, FailureReason.CRASHED, f"{job} was killed\nand more", seconds, rounds=rounds)
    return crashes.pause_s()


def test_pauses_double_with_each_further_job_and_are_told() -> None:
    crashes = loop()
    assert dies(crashes, "a") == 0
    assert crashes.note == ""
    assert [dies(crashes, job) for job in ("b", "a", "c")] == [4.0, 8.0, 16.0]
    assert crashes.note.startswith("4 jobs in a row")
    assert crashes.note.endswith("c was killed")
    for number in range(100):
        longest = dies(crashes, f"j{number}")
    assert longest == 240.0


def test_one_job_that_dies_again_and_again_holds_up_nobody_else() -> None:
    crashes = loop()
    assert [dies(crashes, "poison") for _ in range(5)] == [0.0] * 5


@pytest.mark.parametrize(("seconds", "rounds"), [(90.0, 0), (1.0, 1)])
def test_a_job_that_got_somewhere_shows_that_the_worker_is_sound(seconds: float, rounds: int) -> None:
    crashes = loop()
    dies(crashes, "a")
    assert dies(crashes, "b") > 0
    assert dies(crashes, "c", seconds, rounds) == 0
    assert dies(crashes, "d") == 0


@pytest.mark.parametrize("reason", [FailureReason.INVALID_DATA, FailureReason.NON_FINITE, FailureReason.OUT_OF_MEMORY])
def test_a_job_s_own_faults_do_not_count(reason: FailureReason) -> None:
    crashes = loop()
    for job in ("a", "b", "c"):
        crashes.died(job, reason, "", 1.0, rounds=0)
        assert crashes.pause_s() == 0


def test_workers_with_one_cause_do_not_come_back_in_step() -> None:
    pauses = set()
    for _ in range(20):
        crashes = CrashLoop(first_pause_s=4.0)
        dies(crashes, "a")
        pauses.add(dies(crashes, "b"))
    assert len(pauses) > 10
    assert all(2.0 <= pause <= 6.0 for pause in pauses)

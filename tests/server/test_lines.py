"""Champions, canaries and rollouts through a real server, with the SDK and the command in front."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from kdaif_client import Client, Line, cli, verify
from kdaif_client.errors import AlreadyExists, FailedPrecondition, InvalidArgument, KdaifClientError, NotFound
from kdaif_server import upkeep
from kdaif_server.settings import ServerSettings
from redis import Redis
from typer.testing import CliRunner

from kdaif.datasets import inspect
from kdaif.queue import JobQueue
from kdaif.store import BlobStore, DatasetStore
from tests.server.serving import serving, with_queue
from tests.server.students import add_student

ROWS = 2000


def wrong(share: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(ROWS) < share


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore.open(f"file://{tmp_path}/blobs")


@pytest.fixture
def settings(valkey_url: str, tmp_path: Path) -> ServerSettings:
    return ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path)


@pytest.fixture
def target(settings: ServerSettings) -> Iterator[str]:
    with serving(settings) as running:
        yield running


@pytest.fixture
def client(target: str) -> Iterator[Client]:
    with Client(target) as connected:
        yield connected


@pytest.fixture
def student(valkey_url: str, blobs: BlobStore) -> Callable[..., str]:
    def make(*arguments: object, **options: object) -> str:
        return f"tenants/default/students/{add_student(valkey_url, blobs, *arguments, **options)}"  # type: ignore[arg-type]

    return make


def ids(line: Line) -> list[tuple[int, str, bool, bool]]:
    return [(each.revision, each.action, each.automatic, each.forced) for each in line.history()]


def test_a_line_from_its_first_champion_to_a_roll_back(client: Client, student: Callable[..., str]) -> None:
    old, new, other = student(wrong(0.1)), student(wrong(0.05)), student(wrong(0.1, 1))
    line = client.line("intents")
    with pytest.raises(NotFound, match="no line 'intents'"):
        line.resolve("cam-17")
    with pytest.raises(FailedPrecondition, match="set a champion first"):
        line.canary(new)
    assert line.set_champion(old, author="ada", reason="the first").champion == old
    assert line.set_champion(old, author="ada").revision == 1  # the same call again
    assert line.champion == old
    with pytest.raises(FailedPrecondition, match="at revision 1, not at 7"):
        line.canary(new, expected_revision=7)
    started = line.canary(new, share=0.2, expected_revision=1)
    assert started.canary is not None
    assert (started.canary.share, started.canary.rollout) == (0.2, "intents.2")
    with pytest.raises(FailedPrecondition, match="promote it or roll it back"):
        line.canary(other)
    devices = [f"cam-{number}" for number in range(100)]
    before = {device for device in devices if line.resolve(device).is_canary}
    assert 8 < len(before) < 35
    grown = line.canary(new, share=0.6)
    assert grown.canary is not None
    assert grown.canary.rollout == "intents.2"
    after = {device for device in devices if line.resolve(device).is_canary}
    assert before < after
    promoted = line.promote(author="ada")
    assert "not worse" in promoted.gate
    assert (promoted.champion, promoted.former_champions, promoted.canary) == (new, (old,), None)
    assert {line.resolve(device).student for device in devices[:20]} == {new}
    with pytest.raises(FailedPrecondition, match="no rollout is going on"):
        line.roll_back()
    back = line.roll_back(champion=True, reason="too slow", author="grace")
    assert (back.champion, back.former_champions) == (old, ())
    with pytest.raises(FailedPrecondition, match="no champion before"):
        line.roll_back(champion=True)
    actions = ["ROLL_BACK", "PROMOTE", "SET_SHARE", "START_CANARY", "SET_CHAMPION"]
    assert [action for _, action, _, _ in ids(line)] == actions
    newest = next(line.history())
    assert (newest.student, newest.author, newest.reason) == (new, "grace", "too slow")
    assert [each.name for each in client.list_lines()] == ["tenants/default/lines/intents"]


def test_the_gate_compares_on_the_same_rows_and_force_is_recorded(client: Client, student: Callable[..., str]) -> None:
    base = wrong(0.1)
    old, same = student(base), student(base, names=("dog", "cat"))
    worse = student(base | wrong(0.1, 3))
    line = client.line()
    line.set_champion(old)
    line.set_champion(same)  # the classes are numbered the other way round
    with pytest.raises(FailedPrecondition, match=r"is worse than the champion by more than 1\.00 points.*Force it"):
        line.set_champion(worse)
    assert line.set_champion(worse, margin=0.5).champion == worse
    line.roll_back(champion=True)
    for candidate, why in (
        (student(), "was not kept"),
        (student(base[:1500]), r"tested on 2,000 rows and the candidate on 1,500, of which 1,500"),
        (student(base, first_row=10_000), "of which 0 are the same"),
        (student(base, flip_labels=True), "2,000 of the 2,000 test rows have another label"),
    ):
        with pytest.raises(FailedPrecondition, match=f"Not compared: .*{why}.*Force it"):
            line.canary(candidate, automatic=True)
        line.canary(candidate)
        with pytest.raises(FailedPrecondition, match="Not compared"):
            line.promote()
        assert "Not compared" in line.promote(force=True).gate
        assert ids(line)[0][1:] == ("PROMOTE", False, True)
        line.roll_back(champion=True)
    with pytest.raises(InvalidArgument, match="margin"):
        line.promote(margin=-1.0)


@pytest.mark.parametrize(("rights", "action"), [((80, 95), "PROMOTE"), ((95, 80), "ROLL_BACK")])
def test_outcomes_decide_and_the_server_acts_once(
    client: Client, student: Callable[..., str], rights: tuple[int, int], action: str
) -> None:
    old, new = student(wrong(0.1)), student(wrong(0.05))
    line = client.line("intents")
    line.set_champion(old)
    line.canary(new, share=0.5, automatic=True)
    running = {line.resolve(f"cam-{number}").student: line.resolve(f"cam-{number}") for number in range(40)}
    assert set(running) == {old, new}
    first = line.report(running[new], predictions=10, right=0, total=0)
    assert (first.canary.predictions, first.decision, first.is_going_on) == (10, "GO_ON", True)

    def report(number: int) -> str:
        right = rights[number % 2]
        try:
            told = running[new if number % 2 else old]
            return line.report(told, predictions=100, right=right, total=100, request_id=f"r{number}").decision
        except FailedPrecondition as error:
            return "OVER" if "rollout 'intents.2' is over" in str(error) else str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(report, range(60)))
    assert {"GO_ON", action} <= set(answers) <= {"GO_ON", action, "OVER"}
    assert ids(line)[0][1:] == (action, True, False)
    assert len(ids(line)) == 3
    newest = next(line.history())
    assert newest.author == "kdaif-server"
    assert "The canary is" in newest.reason
    assert line.champion == (new if action == "PROMOTE" else old)
    ended = line.rollout("intents.2")
    assert (ended.decision, ended.is_going_on) == (action, False)
    # A report that was counted is acknowledged even now, under the same id alone.
    assert (
        line.report(running[old], predictions=100, right=rights[0], total=100, request_id="r0").canary == ended.canary
    )
    with pytest.raises(AlreadyExists):
        line.report(running[old], predictions=99, right=1, total=1, request_id="r0")
    with pytest.raises(FailedPrecondition, match="no rollout is going on"):
        line.rollout()
    with pytest.raises(NotFound, match="no rollout"):
        line.rollout("intents.3")


def test_nothing_happens_by_itself_unless_asked_for(client: Client, student: Callable[..., str]) -> None:
    old, new, foreign = student(), student(), student()
    line = client.line()
    line.set_champion(old)
    line.canary(new, share=1.0)
    running = line.resolve("cam-17")
    assert running.student == new
    found = line.report(running, predictions=5000, right=100, total=5000)
    found = line.report(line._by_alias("champion"), predictions=5000, right=4900, total=5000)
    assert (found.decision, found.is_going_on) == ("ROLL_BACK", True)
    assert line.rollout() == found
    with pytest.raises(InvalidArgument, match="has no part in rollout"):
        line.report(type(running)(foreign, False, 2, running.rollout), predictions=1)
    with pytest.raises(InvalidArgument, match="no more can be right"):
        line.report(running, right=2, total=1)
    with pytest.raises(InvalidArgument, match="share"):
        line.canary(new, share=1.5)


def test_two_servers_on_one_store_never_disagree_on_a_revision(
    settings: ServerSettings, target: str, student: Callable[..., str]
) -> None:
    students = [student() for _ in range(4)]
    refused = []

    def race(client: Client, own: list[str]) -> None:
        for number in range(12):
            try:
                client.line().set_champion(own[number % 2], force=True, expected_revision=number)
            except KdaifClientError as error:
                refused.append(str(error))

    with serving(settings) as second, Client(target) as one, Client(second) as two:
        threads = [
            threading.Thread(target=race, args=(one, students[:2])),
            threading.Thread(target=race, args=(two, students[2:])),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        revisions = list(one.line().history())
        assert [each.revision for each in revisions] == list(range(len(revisions), 0, -1))
        assert len(revisions) + len(refused) >= 12
        assert all("revision" in why for why in refused)
        assert list(two.line().history()) == revisions


def test_what_devices_run_cannot_be_deleted(client: Client, student: Callable[..., str]) -> None:
    old, new = student(), student()
    line = client.line()
    line.set_champion(old)
    line.canary(new)
    for name in (old, new):
        with pytest.raises(FailedPrecondition, match="champion or canary of line 'default'"):
            client.get_job(name.replace("students", "distillationJobs")).delete()
    line.promote(force=True)
    client.get_job(old.replace("students", "distillationJobs")).delete()
    with pytest.raises(FailedPrecondition, match="was deleted"):
        line.roll_back(champion=True)


def test_strangers_and_nonsense_are_refused(client: Client, target: str, student: Callable[..., str]) -> None:
    mine = student()
    with pytest.raises(InvalidArgument, match="lower-case"):
        client.line("A/b").set_champion(mine)
    with pytest.raises(InvalidArgument, match="device_key"):
        client.line().resolve("")
    with pytest.raises(InvalidArgument, match="author"):
        client.line().set_champion(mine, author=" ")
    with pytest.raises(NotFound):
        client.line().set_champion("0" * 26)
    with Client(target, tenant="other") as other:
        with pytest.raises(InvalidArgument, match="another tenant"):
            other.line().set_champion(mine)
        client.line().set_champion(mine)
        with pytest.raises(NotFound):
            other.line().resolve("cam-17")


def test_a_device_pulls_what_it_should_run(
    target: str, client: Client, student: Callable[..., str], tmp_path: Path
) -> None:
    old, new, last = student(wrong(0.1)), student(wrong(0.05)), student(wrong(0.02))
    folder = tmp_path / "device" / "student"

    def kdaif(*arguments: str) -> tuple[int, str]:
        found = CliRunner().invoke(cli.app, [*arguments, "--target", target])
        return found.exit_code, found.stdout + found.stderr

    pull = ("pull", "--alias", "champion", "--device", "cam-17", "--line", "intents", str(folder))
    assert kdaif(*pull)[0] == 3
    assert not folder.exists()
    assert kdaif("alias", "champion", old, "--line", "intents", "--reason", "first")[0] == 0
    code, said = kdaif(*pull)
    assert (code, "Changed" in said) == (0, True)
    verify(folder)
    assert folder.is_symlink()
    opened = (folder / "model.onnx").open("rb")
    code, said = kdaif(*pull)
    assert (code, "Unchanged" in said) == (0, True)
    assert kdaif("alias", "canary", new, "--share", "1", "--line", "intents")[0] == 0
    code, said = kdaif(*pull, "--json")
    told = json.loads(said)
    assert (told["student"], told["is_canary"], told["changed"], told["rollout"]) == (new, True, True, "intents.2")
    verify(folder)
    with opened:
        assert old.rsplit("/", 1)[-1].encode() in opened.read()
    code, said = kdaif(
        "alias",
        "report",
        "--line",
        "intents",
        "--rollout",
        told["rollout"],
        "--student",
        new,
        "--total",
        "3",
        "--right",
        "2",
    )
    assert (code, "GO_ON" in said) == (0, True)
    for verb in ("rollout", "history"):
        code, said = kdaif("alias", verb, "--line", "intents")
        assert (code, new.rsplit("/", 1)[-1] in said) == (0, True)
    assert kdaif("alias", "resolve", "cam-17", "--line", "intents") == (0, f"{new}\n")
    code, said = kdaif("alias", "promote", "--line", "intents")
    assert (code, "not worse" in said) == (0, True)
    client.line("intents").set_champion(last)
    assert kdaif(*pull)[0] == 0
    kept = {entry.name for entry in (folder.parent / ".student.versions").iterdir() if entry.is_dir()}
    assert kept == {name.rsplit("/", 1)[-1] for name in (new, last)}
    # The folder of a pull by job becomes a link; a folder of something else is left alone.
    plain = tmp_path / "plain"
    assert kdaif("pull", old.rsplit("/", 1)[-1], str(plain))[0] == 0
    assert kdaif("pull", "--alias", "champion", "--line", "intents", str(plain))[0] == 0
    verify(plain)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    code, said = kdaif("pull", "--alias", "champion", "--line", "intents", str(foreign))
    assert (code, "something else" in said) == (2, True)
    assert kdaif("pull", "--alias", "canary", "--line", "intents", str(plain))[0] == 2
    assert kdaif("pull", "--alias", "best", str(plain))[0] == 2
    assert kdaif("pull")[0] == 2
    assert kdaif("alias", "roll-back", "--champion", "--line", "intents")[0] == 0


def test_old_jobs_whose_students_devices_run_are_kept(
    client: Client,
    student: Callable[..., str],
    settings: ServerSettings,
    blobs: BlobStore,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    champion, canary, *idle = [student() for _ in range(6)]
    client.line().set_champion(champion)
    client.line().canary(canary)
    with Redis.from_url(valkey_url) as redis:
        for name in redis.zrange("kdaif:{default}:ended", 0, -1):
            redis.zadd("kdaif:{default}:ended", {name: 1})  # it ended in 1970
    monkeypatch.setattr(upkeep, "_BATCH", 2)  # so that those kept would fill a whole batch

    async def retain(queue: JobQueue) -> None:
        kept = settings.model_copy(update={"keep_finished_days": 1.0})
        datasets = DatasetStore(blobs, kept.spool_dir, inspect)
        await upkeep.Upkeep(kept, queue, blobs, datasets).retain()

    with_queue(valkey_url, retain)
    assert {each.name for each in client.list_students()} == {champion, canary}
    assert idle

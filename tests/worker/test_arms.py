"""Arms of a job one after the other, some of which end before their last round."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from kdaif_worker import arms, checkpoint
from kdaif_worker.checkpoint import Checkpoint
from kdaif_worker.messages import Assignment, ProgressMessage

from kdaif.records import DistillationSpec, Mlp, Training, Weighting
from kdaif.records.monitoring import Monitoring
from kdaif.rounds import round_of_student
from kdaif.store import BlobStore
from tests.kdaif.rounds.test_train_arm import data, wrong_targets

CPU = torch.device("cpu")
ROUNDS = 8
DATA = data(60)


def assignment(folder: Path, **training: Any) -> Assignment:
    spec = DistillationSpec(
        labeled="a" * 32,
        unlabeled="b" * 32,
        student=Mlp(hidden_sizes=(16,)),
        training=Training(
            **{"rounds": ROUNDS, "epochs_per_round": 4, "learning_rate": 3e-2, "seeds": 1, "batch_size": 32, **training}
        ),
        weighting=Weighting(rounds_per_scoring=1, blocks=4, canary_bar=0.0),
        control_arms=("uniform",),
        # So few rows would raise alarms, each of them a message more.
        monitoring=Monitoring(group_floor=0.0, class_drift=0.0, effective_share=0.0, reliability=0.0),
    )
    return Assignment("default", "j1", 1, "", spec, "", folder, None)


class _Stopped(Exception):
    """A worker that dies."""


def train(
    given: Assignment, blobs: BlobStore, *, stop_after: int | None = None
) -> tuple[Checkpoint, list[ProgressMessage]]:
    told: list[ProgressMessage] = []

    def emit(message: ProgressMessage) -> None:
        told.append(message)
        if len(told) == stop_after:
            raise _Stopped

    return arms.train_all(given, DATA, wrong_targets(DATA, 0.5), CPU, blobs, emit), told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"settled_stability": 1e-3}, "; the weights have settled, and are not scored again"),
        ({"freeze_reliability": 1.0}, "; the weights stay, since this scoring says too little"),
    ],
)
def test_a_round_whose_weights_stay_says_why(tmp_path: Path, options: dict[str, float], said: str) -> None:
    """Any two scorings agree well enough for the one bar, and none is as reliable as the other wants."""
    given = assignment(tmp_path, rounds=3, epochs_per_round=1)
    weighting = given.spec.weighting.model_copy(update=options)
    spec = given.spec.model_copy(update={"weighting": weighting, "control_arms": ()})
    _, told = train(replace(given, spec=spec), BlobStore.open(f"file://{tmp_path}"))
    rounds = [each.progress.message for each in told if each.progress.round]
    assert (rounds[0], rounds[-1]) == ("seed 1 of 1", f"seed 1 of 1{said}")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint, list[ProgressMessage]]:
    folder = tmp_path_factory.mktemp("blobs")
    point, told = train(assignment(folder, patience_rounds=2), BlobStore.open(f"file://{folder}"))
    return folder, point, told


def test_an_arm_that_ends_early_is_finished_and_the_bar_jumps_to_its_end(
    stopped: tuple[Path, Checkpoint, list[ProgressMessage]],
) -> None:
    _, point, told = stopped
    assert set(point.finished) == {("influence", 0), ("uniform", 0)}
    lengths = [len(done.curve) for done in point.finished.values()]
    assert all(2 < length < ROUNDS for length in lengths)
    assert len(told) == point.step == sum(lengths)
    fractions = [message.progress.fraction for message in told]
    assert fractions == sorted(fractions)
    assert fractions[lengths[0] - 1] == pytest.approx(0.05 + 0.85 / 2)
    assert fractions[0] == pytest.approx(0.05 + 0.85 / (2 * ROUNDS))
    assert fractions[-1] == pytest.approx(0.9)


def test_the_published_weights_are_those_up_to_the_student_s_round(
    stopped: tuple[Path, Checkpoint, list[ProgressMessage]],
) -> None:
    folder, point, _ = stopped
    assert point.student is not None
    best = round_of_student(point.student)
    assert best < len(point.finished["influence", 0].curve)
    assert [shard.round for shard in point.shards] == list(range(1, best + 1))
    table = pq.read_table(io.BytesIO(BlobStore.open(f"file://{folder}").get_bytes(point.shards[-1].path)))
    assert set(table.column("round").to_pylist()) == {best}


def test_a_job_cut_off_between_rounds_ends_alike(
    stopped: tuple[Path, Checkpoint, list[ProgressMessage]], tmp_path: Path
) -> None:
    _, whole, told = stopped
    given, blobs = assignment(tmp_path, patience_rounds=2), BlobStore.open(f"file://{tmp_path}")
    for after in (2, len(whole.finished["influence", 0].curve) - 2):
        with pytest.raises(_Stopped):
            train(given, blobs, stop_after=after)
    # The last round of the first arm is in its checkpoint, so that the arm is not trained again.
    assert checkpoint.read_latest(blobs, "default", "j1", 1).finished.keys() == {("influence", 0)}
    point, rest = train(given, blobs)
    assert point.finished.keys() == whole.finished.keys()
    assert [message.progress.fraction for message in rest] == pytest.approx(
        [message.progress.fraction for message in told[-len(rest) :]]
    )
    for key, done in whole.finished.items():
        torch.testing.assert_close(
            torch.from_numpy(point.finished[key].test_logits), torch.from_numpy(done.test_logits), rtol=1e-4, atol=1e-5
        )
    assert [shard.round for shard in point.shards] == [shard.round for shard in whole.shards]


def test_without_patience_every_round_counts(tmp_path: Path) -> None:
    given = assignment(tmp_path, rounds=3, epochs_per_round=1)
    point, told = train(given, BlobStore.open(f"file://{tmp_path}"))
    assert [message.progress.fraction for message in told] == pytest.approx(
        [0.05 + 0.85 * step / 6 for step in range(1, 7)]
    )
    assert [len(done.curve) for done in point.finished.values()] == [3, 3]
    assert [shard.round for shard in point.shards] == [1, 2, 3]

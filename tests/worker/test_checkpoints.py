"""What is left of an attempt that died, and what the next one makes of it."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from kdaif_worker import arms, checkpoint
from kdaif_worker.checkpoint import Checkpoint
from kdaif_worker.messages import Assignment, ProgressMessage

from kdaif.errors import UnavailableError
from kdaif.records import DistillationSpec, Mlp, Training, Weighting
from kdaif.records.monitoring import Monitoring
from kdaif.store import BlobStore, layout
from tests.kdaif.rounds.test_train_arm import data, wrong_targets

DATA = data(60)
TARGETS = wrong_targets(DATA, 0.5)
SIDE_ROUNDS, ROUNDS, SEEDS = 2, 3, 2


def assignment(folder: Path, attempt: int = 1, **training: Any) -> Assignment:
    given = {"rounds": ROUNDS, "epochs_per_round": 1, "seeds": SEEDS, "batch_size": 32} | training
    spec = DistillationSpec(
        labeled="a" * 32,
        unlabeled="b" * 32,
        student=Mlp(hidden_sizes=(8,), dropout=0.3),
        training=Training(**given),
        weighting=Weighting(rounds_per_scoring=1, blocks=4, solver="cg"),
        control_arms=("uniform",),
        # So few rows would raise alarms, each of them a message more.
        monitoring=Monitoring(group_floor=0.0, class_drift=0.0, effective_share=0.0, reliability=0.0),
    )
    return Assignment("default", "j1", attempt, "", spec, f"file://{folder}", folder, 1)


class Killed(Exception):
    """The child dies here."""


def train(given: Assignment, told: Callable[[ProgressMessage], None]) -> Checkpoint:
    return arms.train_all(given, DATA, TARGETS, torch.device("cpu"), BlobStore.open(given.blob_url), told)


def disturb_generators(seed: int) -> None:
    """What a new process would find in its place, were nothing derived from the job's own seed."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def files(folder: Path, attempt: int) -> list[int]:
    paths = BlobStore.open(f"file://{folder}").list(layout.checkpoints("default", "j1", attempt))
    return [layout.checkpoint_step(path) for path in paths]


@pytest.mark.parametrize("more", [{}, {"ema_decay": 0.9, "schedule": "cosine", "patience_rounds": 2}])
def test_a_job_killed_after_every_round_ends_with_the_weights_of_one_that_never_was(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    disturb_generators(1)
    steps: list[ProgressMessage] = []
    whole = train(assignment(tmp_path / "whole", **more), steps.append)
    assert {step.progress.arm for step in steps} == {"canary", "influence", "uniform"}

    def die(_: ProgressMessage) -> None:
        raise Killed

    attempt = 1
    while True:
        disturb_generators(attempt + 1)
        try:
            point = train(assignment(tmp_path / "cut", attempt, **more), die)
            break
        except Killed:
            left = [(number, step) for number in range(1, attempt + 1) for step in files(tmp_path / "cut", number)]
            assert left == [(number, number) for number in range(max(1, attempt - 1), attempt + 1)]
            attempt += 1
    assert attempt == len(steps) + 1
    assert point.canary == whole.canary
    assert point.finished.keys() == whole.finished.keys()
    for key, done in whole.finished.items():
        np.testing.assert_allclose(point.finished[key].test_logits, done.test_logits, rtol=0, atol=1e-6)
    assert point.student is not None
    assert whole.student is not None
    assert point.student.tensors.keys() == whole.student.tensors.keys()
    for name, tensor in whole.student.tensors.items():
        torch.testing.assert_close(point.student.tensors[name], tensor, rtol=0, atol=1e-6)
    weights = [
        [pq.read_table(tmp_path / which / shard.path) for shard in shards]
        for which, shards in (("whole", whole.shards), ("cut", point.shards))
    ]
    assert weights[0] == weights[1]  # but for the attempt that their metadata name


def test_a_flipped_byte_anywhere_is_noticed_and_the_checkpoint_before_is_taken(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    for step in (1, 2):
        checkpoint.write(blobs, "default", "j1", 1, Checkpoint(step=step, current_curve=({"loss": 0.5},)))
    file = tmp_path / layout.checkpoint("default", "j1", 1, 2)
    whole = file.read_bytes()
    assert checkpoint.read_latest(blobs, "default", "j1", 1).step == 2
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        assert checkpoint.read_latest(blobs, "default", "j1", 1).step == 1, place
    for length in (0, 7, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert checkpoint.read_latest(blobs, "default", "j1", 1).step == 1
    file.write_bytes(whole + b"x")
    assert checkpoint.read_latest(blobs, "default", "j1", 1).step == 1


def test_two_are_kept_and_those_of_a_former_attempt_that_still_runs_are_left_alone(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")

    def write(attempt: int, step: int) -> None:
        checkpoint.write(blobs, "default", "j1", attempt, Checkpoint(step=step))

    for step in (1, 2, 3):
        write(1, step)
    assert files(tmp_path, 1) == [2, 3]
    write(2, 3)  # the first attempt's step 3 was damaged
    assert (files(tmp_path, 1), files(tmp_path, 2)) == ([2], [3])
    write(1, 9)  # a worker that was fenced off and does not know it
    write(2, 4)
    assert (files(tmp_path, 1), files(tmp_path, 2)) == ([9], [3, 4])
    assert checkpoint.read_latest(blobs, "default", "j1", 2).step == 9


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow: what a full disk does to a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_checkpoints_and_no_rounds(tmp_path: Path) -> None:
    given = assignment(tmp_path, seeds=1)
    told: list[ProgressMessage] = []
    with ExitStack() as disk:

        def emit(message: ProgressMessage) -> None:
            told.append(message)
            if len(told) == SIDE_ROUNDS + 1:
                disk.enter_context(full_disk())
            if len(told) == SIDE_ROUNDS + 5:  # two rounds, each with its warning
                disk.close()

        point = train(given, emit)
    warnings = [message.progress for message in told if message.warning]
    assert [(warning.arm, warning.round) for warning in warnings] == [("influence", 2), ("influence", 3)]
    assert all("training goes on" in warning.message for warning in warnings)
    assert len(told) == SIDE_ROUNDS + 2 * ROUNDS + len(warnings)
    # The weights of those rounds were written as soon as there was room.
    assert [shard.round for shard in point.shards] == [1, 2, 3]
    blobs = BlobStore.open(given.blob_url)
    assert all(blobs.exists(shard.path) for shard in point.shards)
    assert checkpoint.read_latest(blobs, "default", "j1", 1).step == SIDE_ROUNDS + 2 * ROUNDS


def test_a_disk_that_stays_full_fails_the_attempt_at_its_end(tmp_path: Path) -> None:
    BlobStore.open(f"file://{tmp_path}")
    told: list[ProgressMessage] = []
    with full_disk(), pytest.raises(UnavailableError):
        train(assignment(tmp_path, seeds=1, rounds=2), told.append)
    assert told[-1].progress.arm == "uniform"

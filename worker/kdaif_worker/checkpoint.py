"""Checkpoints: everything a later attempt needs to go on, in one safetensors file per step.

No generator's state is kept, for none outlives a round: each round draws from generators seeded by (seed, round), and
both are in the arm's state. So a resumed job takes the very steps that an uninterrupted one takes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from kdaif.errors import NotFoundError
from kdaif.records import CanaryCheck, WeightsShard
from kdaif.records.monitoring import Alarm, GroupWeight
from kdaif.rounds import ArmState
from kdaif.scratch import Scratch
from kdaif.store import BlobStore, attempts_with_blobs, layout
from kdaif.top_rows import hold_top_rows
from kdaif_worker.tensor_files import read_tensors, write_tensors

ArmKey = tuple[str, int]
_CANARY = TypeAdapter(CanaryCheck | None)
_SHARDS = TypeAdapter(tuple[WeightsShard, ...])
_EVIDENCE = TypeAdapter(WeightsShard | None)
_ALARMS = TypeAdapter(tuple[Alarm, ...])
_GROUPS = TypeAdapter(tuple[GroupWeight, ...])
_KEPT = 2
_FORMAT_OF_LARGEST = 5  # with rows kept by their largest classes, which workers of before would misread
_FORMAT = 4  # 3 had no alarms; 2 had no hash; 1 knew no canary check, so its states could be taken for the side arm's


@dataclass(frozen=True)
class FinishedArm:
    """One arm trained with one seed: float32 logits `[N, C]` on the test and external rows, and its rounds' metrics."""

    test_logits: NDArray[np.float32]
    curve: tuple[dict[str, float], ...]
    external_logits: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Where a job is. ``current`` and ``student`` may be missing; ``step`` counts the rounds that were trained.

    ``canary`` is what the canary check found; None while it is not over, and ``current`` then is its side arm's.
    ``alarms`` are those so far, the last round's of each kind and subject; ``reviewed`` holds the keys of those that a
    person was asked about. ``groups`` are those of the last scoring. ``revision`` is the last one of people's decisions
    that holds in it, and ``evidence`` the explained samples.
    """

    step: int = 0
    finished: dict[ArmKey, FinishedArm] = field(default_factory=dict)
    current: ArmState | None = None
    current_curve: tuple[dict[str, float], ...] = ()
    student: ArmState | None = None
    shards: tuple[WeightsShard, ...] = ()
    canary: CanaryCheck | None = None
    alarms: tuple[Alarm, ...] = ()
    reviewed: frozenset[str] = frozenset()
    groups: tuple[GroupWeight, ...] = ()
    revision: int = 0
    evidence: WeightsShard | None = None


def write(
    blobs: BlobStore,
    tenant: str,
    job_id: str,
    attempt: int,
    checkpoint: Checkpoint,
    scratch: Scratch | None = None,
) -> None:
    """Publishes the checkpoint, then drops all that came before it but for one, in case this one gets damaged.

    Checkpoints of former attempts count too, except those that are further on: their worker may still be alive. What
    is as large as the rows lies in ``scratch``, and so does the file until it is published.

    Raises:
        UnavailableError: the store is full or does not answer. Those of before are still there.
        OSError: scratch is full, likewise.
    """
    room = Scratch() if scratch is None else scratch
    with room.spooled() as file:
        arrays, head = _parts(checkpoint)
        write_tensors(file, arrays, {"kdaif": json.dumps(head)}, room)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        blobs.replace_stream(layout.checkpoint(tenant, job_id, attempt, checkpoint.step), file, size)
    passed = [
        (step, former, path)
        for former in attempts_with_blobs(blobs, tenant, job_id, attempt)
        for step, path in _steps(blobs, tenant, job_id, former)
        if step <= checkpoint.step
    ]
    newest = {step: path for step, _, path in sorted(passed)}  # of one step the last attempt's
    kept = {newest[step] for step in sorted(newest)[-_KEPT:]}
    for _, _, path in passed:
        if path not in kept:
            blobs.delete(path)


def read_latest(blobs: BlobStore, tenant: str, job_id: str, attempt: int, scratch: Scratch | None = None) -> Checkpoint:
    """The furthest whole checkpoint of this and earlier attempts; an empty one where there is none.

    Raises:
        UnavailableError: the store does not answer.
    """
    formers = attempts_with_blobs(blobs, tenant, job_id, attempt)
    found = [(step, path) for former in formers for step, path in _steps(blobs, tenant, job_id, former)]
    for _, path in sorted(found, reverse=True):
        try:
            return _read(blobs, path, Scratch() if scratch is None else scratch)
        except (ValueError, NotFoundError):
            continue  # damaged, foreign or just dropped: the one before it will do
    return Checkpoint()


def _steps(blobs: BlobStore, tenant: str, job_id: str, attempt: int) -> list[tuple[int, str]]:
    paths = blobs.list(layout.checkpoints(tenant, job_id, attempt))
    return [(layout.checkpoint_step(path), path) for path in paths]


def _parts(checkpoint: Checkpoint) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays by name, and all else."""
    arrays: dict[str, NDArray[Any]] = {}
    finished = []
    for (arm, seed), done in checkpoint.finished.items():
        arrays[f"finished/{arm}/{seed}"] = done.test_logits
        if done.external_logits is not None:
            arrays[f"external/{arm}/{seed}"] = done.external_logits
        finished.append({"arm": arm, "seed": seed, "curve": list(done.curve)})
    states = [state for state in (checkpoint.current, checkpoint.student) if state is not None]
    head: dict[str, Any] = {
        "format": _FORMAT_OF_LARGEST if any(hold_top_rows(state.tensors) for state in states) else _FORMAT,
        "step": checkpoint.step,
        "finished": finished,
        "current_curve": list(checkpoint.current_curve),
        "shards": _SHARDS.dump_python(checkpoint.shards, mode="json"),
        "canary": _CANARY.dump_python(checkpoint.canary, mode="json"),
        "alarms": _ALARMS.dump_python(checkpoint.alarms, mode="json"),
        "reviewed": sorted(checkpoint.reviewed),
        "groups": _GROUPS.dump_python(checkpoint.groups, mode="json"),
        "revision": checkpoint.revision,
        "evidence": _EVIDENCE.dump_python(checkpoint.evidence, mode="json"),
    }
    for name, state in (("current", checkpoint.current), ("student", checkpoint.student)):
        if state is not None:
            arrays |= {f"{name}/{key}": tensor.contiguous().numpy() for key, tensor in state.tensors.items()}
            head[name] = state.numbers
    return arrays, head


def _read(blobs: BlobStore, path: str, scratch: Scratch) -> Checkpoint:
    """Raises ValueError when there is no whole checkpoint of this format."""
    arrays, metadata = read_tensors(blobs.iter_range(path), blobs.size(path), scratch)
    if "kdaif" not in metadata:
        raise ValueError("not a checkpoint")
    head = json.loads(metadata["kdaif"])
    if head["format"] not in (_FORMAT, _FORMAT_OF_LARGEST):
        raise ValueError(f"checkpoint format {head['format']} is unknown")
    return Checkpoint(
        step=head["step"],
        finished={
            (done["arm"], done["seed"]): FinishedArm(
                arrays[f"finished/{done['arm']}/{done['seed']}"],
                tuple(done["curve"]),
                arrays.get(f"external/{done['arm']}/{done['seed']}"),
            )
            for done in head["finished"]
        },
        current=_state(head, arrays, "current"),
        current_curve=tuple(head["current_curve"]),
        student=_state(head, arrays, "student"),
        shards=_SHARDS.validate_python(head["shards"]),
        canary=_CANARY.validate_python(head["canary"]),
        alarms=_ALARMS.validate_python(head["alarms"]),
        reviewed=frozenset(head["reviewed"]),
        groups=_GROUPS.validate_python(head["groups"]),
        # Those of older versions have neither.
        revision=head.get("revision", 0),
        evidence=_EVIDENCE.validate_python(head.get("evidence")),
    )


def _state(head: dict[str, Any], arrays: dict[str, NDArray[Any]], name: str) -> ArmState | None:
    if name not in head:
        return None
    prefix = f"{name}/"
    mine = {
        key.removeprefix(prefix): torch.from_numpy(array) for key, array in arrays.items() if key.startswith(prefix)
    }
    return ArmState(tensors=mine, numbers=head[name])

"""Checkpoints: everything a later attempt needs to go on, in one safetensors file per step.

No generator's state is kept, for none outlives a round: each round draws from generators seeded by (seed, round), and
both are in the arm's state. So a resumed job takes the very steps that an uninterrupted one takes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors.torch import load, save

from kdaif.errors import NotFoundError
from kdaif.records import CanaryCheck, WeightsShard
from kdaif.rounds import ArmState
from kdaif.store import BlobStore, attempts_with_blobs, layout

ArmKey = tuple[str, int]
_CANARY = TypeAdapter(CanaryCheck | None)
_SHARDS = TypeAdapter(tuple[WeightsShard, ...])
_KEPT = 2
_FORMAT = 3  # 2 had no hash; 1 knew no canary check, so its states could be taken for the side arm's
# The file's hash stands in its own header, and is taken with zeros in its place. So the file stays plain safetensors.
_HASH_FIELD = b'"sha256":"'
_NO_HASH = "0" * 64


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
    """

    step: int = 0
    finished: dict[ArmKey, FinishedArm] = field(default_factory=dict)
    current: ArmState | None = None
    current_curve: tuple[dict[str, float], ...] = ()
    student: ArmState | None = None
    shards: tuple[WeightsShard, ...] = ()
    canary: CanaryCheck | None = None


def write(blobs: BlobStore, tenant: str, job_id: str, attempt: int, checkpoint: Checkpoint) -> None:
    """Publishes the checkpoint, then drops all that came before it but for one, in case this one gets damaged.

    Checkpoints of former attempts count too, except those that are further on: their worker may still be alive.

    Raises:
        UnavailableError: the store is full or does not answer. Those of before are still there.
    """
    blobs.replace_bytes(layout.checkpoint(tenant, job_id, attempt, checkpoint.step), _encode(checkpoint))
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


def read_latest(blobs: BlobStore, tenant: str, job_id: str, attempt: int) -> Checkpoint:
    """The furthest whole checkpoint of this and earlier attempts; an empty one where there is none.

    Raises:
        UnavailableError: the store does not answer.
    """
    formers = attempts_with_blobs(blobs, tenant, job_id, attempt)
    found = [(step, path) for former in formers for step, path in _steps(blobs, tenant, job_id, former)]
    for _, path in sorted(found, reverse=True):
        try:
            return _decode(blobs.get_bytes(path))
        except (ValueError, NotFoundError):
            continue  # damaged, foreign or just dropped: the one before it will do
    return Checkpoint()


def _steps(blobs: BlobStore, tenant: str, job_id: str, attempt: int) -> list[tuple[int, str]]:
    paths = blobs.list(layout.checkpoints(tenant, job_id, attempt))
    return [(layout.checkpoint_step(path), path) for path in paths]


def _encode(checkpoint: Checkpoint) -> bytes:
    tensors: dict[str, torch.Tensor] = {}
    finished = []
    for (arm, seed), done in checkpoint.finished.items():
        tensors[f"finished/{arm}/{seed}"] = torch.from_numpy(done.test_logits)
        if done.external_logits is not None:
            tensors[f"external/{arm}/{seed}"] = torch.from_numpy(done.external_logits)
        finished.append({"arm": arm, "seed": seed, "curve": list(done.curve)})
    head: dict[str, Any] = {
        "format": _FORMAT,
        "step": checkpoint.step,
        "finished": finished,
        "current_curve": list(checkpoint.current_curve),
        "shards": _SHARDS.dump_python(checkpoint.shards, mode="json"),
        "canary": _CANARY.dump_python(checkpoint.canary, mode="json"),
    }
    for name, state in (("current", checkpoint.current), ("student", checkpoint.student)):
        if state is not None:
            tensors |= {f"{name}/{key}": tensor.contiguous() for key, tensor in state.tensors.items()}
            head[name] = state.numbers
    return _with_hash(save(tensors, metadata={"kdaif": json.dumps(head), "sha256": _NO_HASH}))


def _with_hash(unhashed: bytes) -> bytes:
    start = _hash_place(unhashed)
    return unhashed[:start] + hashlib.sha256(unhashed).hexdigest().encode() + unhashed[start + len(_NO_HASH) :]


def _check_hash(data: bytes) -> None:
    start = _hash_place(data)
    end = start + len(_NO_HASH)
    digest = hashlib.sha256(data[:start])
    digest.update(_NO_HASH.encode())
    digest.update(memoryview(data)[end:])
    if data[start:end] != digest.hexdigest().encode():
        raise ValueError("a checkpoint's bytes do not match its hash")


def _hash_place(data: bytes) -> int:
    """Where the hash stands. Quotes within the other texts of the header are escaped, so nothing else looks like it."""
    place = data.find(_HASH_FIELD)
    if place < 0:
        raise ValueError("not a checkpoint: there is no hash in it")
    return place + len(_HASH_FIELD)


def _decode(data: bytes) -> Checkpoint:
    """Raises ValueError when ``data`` is no whole checkpoint of this format."""
    _check_hash(data)
    try:
        tensors = load(data)
        header_bytes = int.from_bytes(data[:8], "little")
        head = json.loads(json.loads(data[8 : 8 + header_bytes])["__metadata__"]["kdaif"])
    except Exception as error:
        raise ValueError(f"not a checkpoint: {error}") from error
    if head["format"] != _FORMAT:
        raise ValueError(f"checkpoint format {head['format']} is unknown")
    return Checkpoint(
        step=head["step"],
        finished={
            (done["arm"], done["seed"]): _finished(tensors, done["arm"], done["seed"], done["curve"])
            for done in head["finished"]
        },
        current=_state(head, tensors, "current"),
        current_curve=tuple(head["current_curve"]),
        student=_state(head, tensors, "student"),
        shards=_SHARDS.validate_python(head["shards"]),
        canary=_CANARY.validate_python(head["canary"]),
    )


def _finished(tensors: dict[str, torch.Tensor], arm: str, seed: int, curve: list[dict[str, float]]) -> FinishedArm:
    external = tensors.get(f"external/{arm}/{seed}")
    return FinishedArm(
        tensors[f"finished/{arm}/{seed}"].numpy(), tuple(curve), None if external is None else external.numpy()
    )


def _state(head: dict[str, Any], tensors: dict[str, torch.Tensor], name: str) -> ArmState | None:
    if name not in head:
        return None
    prefix = f"{name}/"
    mine = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    return ArmState(tensors=mine, numbers=head[name])

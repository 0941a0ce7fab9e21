"""A training child without torch: the real messages and the real blob store, but it trains nothing.

What it does to itself is in the job's display name, ``{kind}-{number}``; how long it takes follows from name and
attempt.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from types import SimpleNamespace

from kdaif_worker.messages import (
    Assignment,
    FailedMessage,
    Message,
    ProgressMessage,
    ShardDoneMessage,
    ShardScoredMessage,
    ShardsMessage,
    SucceededMessage,
    decode_answer,
    encode,
)

from kdaif.errors import DataCorruptedError, FailureReason, KdaifError
from kdaif.processes import die_with_parent
from kdaif.records import AttemptManifest, Failure, JobResult, Progress, Shard, StoredFile, WeightsShard
from kdaif.store import BlobStore, layout
from tests.chaos.stand_in_shards import Ask, StandInScoring, score_for_another

_LEAST_S, _MOST_S = 0.05, 2.0
_KEPT = 2


class Kind(StrEnum):
    """What a job does to its workers."""

    PLAIN = "plain"
    CRASHING = "crashing"  # its first attempt dies
    FLAKY = "flaky"  # its first attempt fails in a way that is worth a retry
    POISON = "poison"  # every attempt dies
    REFUSED = "refused"  # fails for good
    HANGING = "hanging"  # never ends
    LONG = "long"  # several leases
    SHARDED = "sharded"  # has shards scored by others
    REAL = "real"  # trains with torch
    REAL_SHARDED = "realsharded"  # and has shards scored by others
    REAL_WHOLE = "realwhole"  # the same job uncut, once all is calm: what the others are held against


REAL_KINDS = frozenset({Kind.REAL, Kind.REAL_SHARDED, Kind.REAL_WHOLE})


@dataclass(frozen=True)
class Point:
    """A checkpoint."""

    step: int = 0
    shards: tuple[WeightsShard, ...] = ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments, _ = parser.parse_known_args()
    die_with_parent(arguments.parent)
    line = sys.stdin.buffer.readline()
    assignment = Assignment.from_json(line)
    if kind_of(assignment.display_name) in REAL_KINDS:
        _train_for_real(line)
        return
    with os.fdopen(arguments.messages_fd, "wb", buffering=0) as pipe:

        def emit(message: Message) -> None:
            pipe.write(encode(message))

        def ask(message: ShardsMessage | ShardDoneMessage) -> Shard | None:
            emit(message)
            return decode_answer(sys.stdin.buffer.readline())

        try:
            if assignment.shard is None:
                emit(_Attempt(assignment, emit, ask).run())
                return
            while line:
                assignment = Assignment.from_json(line)
                if assignment.shard is not None:
                    score_for_another(assignment, assignment.shard, BlobStore.open(assignment.blob_url))
                emit(ShardScoredMessage())
                line = sys.stdin.buffer.readline()
        except DataCorruptedError as error:
            emit(FailedMessage(Failure(FailureReason.STORAGE, str(error), retryable=False)))
        except (KdaifError, OSError) as error:
            emit(FailedMessage(Failure(FailureReason.STORAGE, f"{type(error).__name__}: {error}", retryable=True)))


def kind_of(display_name: str) -> Kind:
    return Kind(display_name.partition("-")[0])


def seconds_of(display_name: str, attempt: int) -> float:
    """How long an attempt takes from its start: 0.05 s to 2 s, half a second on average."""
    return float(_LEAST_S * (_MOST_S / _LEAST_S) ** random.Random(f"{display_name}/{attempt}").random())


class _Attempt:
    def __init__(self, assignment: Assignment, emit: Callable[[Message], None], ask: Ask) -> None:
        self._assignment = assignment
        self._emit = emit
        self._job = (assignment.tenant, assignment.job_id)
        self._attempt = assignment.attempt
        self._kind = kind_of(assignment.display_name)
        self._blobs = BlobStore.open(assignment.blob_url)
        self._scoring = StandInScoring(assignment, self._blobs, ask)

    def run(self) -> Message:
        started = time.monotonic()
        steps = {Kind.LONG: 12, Kind.SHARDED: 2}.get(self._kind, 3)
        pause_s = 0.7 if self._kind is Kind.LONG else seconds_of(self._assignment.display_name, self._attempt) / steps
        point = self._read_latest()
        while point.step < steps:
            time.sleep(pause_s)
            point = replace(point, step=point.step + 1, shards=(*point.shards, self._weights(point.step + 1)))
            self._write(point)
            self._tell(point.step, steps)
            if point.step == 1 or point.step == steps:
                failure = self._harm_itself()
                if failure is not None:
                    return FailedMessage(failure)
        self._publish(point)
        return SucceededMessage(JobResult(self._attempt, (), "Nothing was trained.", time.monotonic() - started))

    def _harm_itself(self) -> Failure | None:
        first = self._attempt == 1
        if self._kind is Kind.POISON or (self._kind is Kind.CRASHING and first):
            sys.stderr.write(f"attempt {self._attempt} dies, as it should\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        if self._kind is Kind.HANGING:
            time.sleep(3600)
        if self._kind is Kind.FLAKY and first:
            return Failure(FailureReason.STORAGE, "Fails once, as it should.", retryable=True)
        if self._kind is Kind.REFUSED:
            return Failure(FailureReason.INVALID_DATA, "Fails for good, as it should.", retryable=False)
        return None

    def _tell(self, step: int, steps: int) -> None:
        # The attempt that speaks, beside the one that the queue writes: they must agree, or a stale one was heard.
        said = ProgressMessage(Progress("distil", step / steps, round=step, rounds=steps), {"said_by": self._attempt})
        self._emit(said)

    def _weights(self, step: int) -> WeightsShard:
        if self._kind is Kind.SHARDED:
            data = self._scoring.weights(step)
        else:
            data = f"weights of attempt {self._attempt} step {step} process {os.getpid()}\n".encode() * 20
        path = layout.weights_shard(*self._job, self._attempt, step)
        self._blobs.put_bytes(path, data)
        return WeightsShard(step, path, _sha256(data), 20)

    def _write(self, point: Point) -> None:
        text = json.dumps(asdict(point)).encode()
        whole = hashlib.sha256(text).hexdigest().encode() + text
        self._blobs.replace_bytes(layout.checkpoint(*self._job, self._attempt, point.step), whole)
        if point.step > _KEPT:
            self._blobs.delete(layout.checkpoint(*self._job, self._attempt, point.step - _KEPT))

    def _read_latest(self) -> Point:
        found = [
            (layout.checkpoint_step(path), path)
            for attempt in range(self._attempt, 0, -1)
            for path in self._blobs.list(layout.checkpoints(*self._job, attempt))
        ]
        for _, path in sorted(found, reverse=True):
            data = self._blobs.get_bytes(path)
            if hashlib.sha256(data[64:]).hexdigest().encode() == data[:64]:
                saved = json.loads(data[64:])
                return Point(saved["step"], tuple(WeightsShard(**shard) for shard in saved["shards"]))
        return Point()

    def _publish(self, point: Point) -> None:
        files = {
            "model.onnx": os.urandom(2048),
            "report.html": f"attempt {self._attempt} of {self._assignment.job_id}\n".encode() * 20,
        }
        files["manifest.json"] = self._bundle_manifest(files)
        for name, data in files.items():
            self._blobs.put_bytes(layout.bundle_file(*self._job, self._attempt, name), data)
        manifest = AttemptManifest(
            job=self._assignment.job_id,
            attempt=self._attempt,
            class_names=("no", "yes"),
            bundle=tuple(StoredFile(n, _sha256(data), len(data)) for n, data in files.items()),
            weights=point.shards,
            created_at_ms=time.time_ns() // 1_000_000,
        )
        self._blobs.put_bytes(layout.attempt_manifest(*self._job, self._attempt), manifest.to_json())

    def _bundle_manifest(self, files: Mapping[str, bytes]) -> bytes:
        """As much of it as clients look at."""
        return json.dumps(
            {
                "format_version": 1,
                "attempt": self._attempt,
                "class_names": ["no", "yes"],
                "input": {"name": "features", "kind": "tabular", "shape": [3]},
                "outputs": ["logits", "probabilities"],
                "files": {n: {"sha256": _sha256(data), "size_bytes": len(data)} for n, data in files.items()},
            }
        ).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _Again:
    """Standard input, with the line that was read from it once more."""

    def __init__(self, line: bytes) -> None:
        self._line, self._rest = line, sys.stdin.buffer

    def readline(self) -> bytes:
        line, self._line = self._line, b""
        return line or self._rest.readline()


def _train_for_real(line: bytes) -> None:
    from kdaif_worker.child import main as train

    sys.stdin = SimpleNamespace(buffer=_Again(line))
    train()


if __name__ == "__main__":
    main()

"""What the stand-in scores in shards: real files and messages, and scores that follow from the job's name alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterable

from kdaif_worker.messages import Assignment, ShardDoneMessage, ShardsMessage

from kdaif.errors import AlreadyExistsError, DataCorruptedError, NotFoundError, UnavailableError
from kdaif.records import Shard
from kdaif.store import BlobStore, layout

SHARDS = 6
_LEAST_S, _MOST_S = 0.1, 1.5
_TRIES = 3
_DYING = 3  # the number of the shard whose first process elsewhere dies

Ask = Callable[[ShardsMessage | ShardDoneMessage], Shard | None]


def expected_weights(display_name: str, step: int) -> bytes:
    """Of a job that nothing happened to."""
    along = _along(display_name, step)
    return _weights(_scores(along, _rows(display_name, number)) for number in range(1, SHARDS + 1))


class StandInScoring:
    """Has the shards of each step scored by whoever is free, as `kdaif_worker.shards` has."""

    def __init__(self, assignment: Assignment, blobs: BlobStore, ask: Ask) -> None:
        self._given = assignment
        self._blobs = blobs
        self._ask = ask
        self._former: set[str] = set()

    def weights(self, step: int) -> bytes:
        given, name = self._given, self._given.display_name
        along = _along(name, step)
        self._put(layout.shard_along(given.tenant, given.job_id, _sha256(along)), along)
        shards = []
        for number in range(1, SHARDS + 1):
            rows = _rows(name, number)
            self._put(layout.shard_rows(given.tenant, given.job_id, _sha256(rows)), rows)
            hashes = (_sha256(along), _sha256(rows))
            shards.append(Shard(given.job_id, number, SHARDS, 10 * (number - 1), 10 * number, *hashes))
        paths = [layout.shard_scores(given.tenant, given.job_id, each.along, each.rows) for each in shards]
        kept = {layout.shard_along(given.tenant, given.job_id, _sha256(along)), *paths}
        for path in self._former - kept:
            self._blobs.delete(path)
        self._former = kept
        for _ in range(_TRIES):
            missing = tuple(shard for shard, path in zip(shards, paths, strict=True) if not self._blobs.exists(path))
            if not missing:
                break
            own = self._ask(ShardsMessage(missing))
            while own is not None:
                _score(given.tenant, own, self._blobs, _seconds_of(own, given.attempt))
                own = self._ask(ShardDoneMessage(own))
        try:
            return _weights(self._blobs.get_bytes(path) for path in paths)
        except NotFoundError as error:
            raise UnavailableError(f"scores are gone: {error}") from error

    def _put(self, path: str, data: bytes) -> None:
        if not self._blobs.exists(path):
            with contextlib.suppress(AlreadyExistsError):
                self._blobs.put_bytes(path, data)


def score_for_another(assignment: Assignment, shard: Shard, blobs: BlobStore) -> None:
    """A shard of another worker's job."""
    if shard.number == _DYING and assignment.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        _score(assignment.tenant, shard, blobs, _seconds_of(shard, assignment.attempt))
    except NotFoundError as error:
        raise DataCorruptedError(f"what the job put there is gone: {error}") from error


def _score(tenant: str, shard: Shard, blobs: BlobStore, seconds: float) -> None:
    path = layout.shard_scores(tenant, shard.job, shard.along, shard.rows)
    if blobs.exists(path):
        return
    scored_along = layout.shard_along(tenant, shard.job, shard.along)
    along = blobs.get_bytes(scored_along)
    rows = blobs.get_bytes(layout.shard_rows(tenant, shard.job, shard.rows))
    time.sleep(seconds)
    if blobs.exists(scored_along):
        with contextlib.suppress(AlreadyExistsError):
            blobs.put_bytes(path, _scores(along, rows))


def _seconds_of(shard: Shard, attempt: int) -> float:
    return random.Random(f"{shard.along}/{shard.number}/{attempt}").uniform(_LEAST_S, _MOST_S)


def _along(display_name: str, step: int) -> bytes:
    return f"the solution of step {step} of {display_name}\n".encode() * 40


def _rows(display_name: str, number: int) -> bytes:
    return f"rows {number} of {display_name}\n".encode() * 100


def _scores(along: bytes, rows: bytes) -> bytes:
    return hashlib.sha512(along + rows).digest() * 8


def _weights(scores: Iterable[bytes]) -> bytes:
    return b"".join(scores)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

"""What an attempt writes while it trains: weights shards and checkpoints. A full disk costs neither rows nor rounds."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from kdaif.errors import AlreadyExistsError, UnavailableError
from kdaif.records import Progress, WeightsShard
from kdaif.store import BlobStore, layout
from kdaif_worker import checkpoint as checkpoints
from kdaif_worker.checkpoint import Checkpoint
from kdaif_worker.messages import Assignment, ProgressMessage

_MOST_WAITING_BYTES = 256 << 20


class AttemptFiles:
    """Writes to the blob store, and keeps in memory what that refuses, to try again with the next write.

    Args:
        assignment: of the attempt.
        blobs: where to write.
        emit: is told what could not be written.
    """

    def __init__(self, assignment: Assignment, blobs: BlobStore, emit: Callable[[ProgressMessage], None]) -> None:
        self._assignment = assignment
        self._blobs = blobs
        self._emit = emit
        self._waiting: dict[str, bytes] = {}

    def read_latest(self) -> Checkpoint:
        """The furthest checkpoint of this and earlier attempts."""
        given = self._assignment
        return checkpoints.read_latest(self._blobs, given.tenant, given.job_id, given.attempt)

    def add_weights(self, round_number: int, table: pa.Table) -> WeightsShard:
        """A shard that is durable once the next `save` or `finish` returns without a warning."""
        given, data = self._assignment, parquet_bytes(table)
        path = layout.weights_shard(given.tenant, given.job_id, given.attempt, round_number)
        self._waiting[path] = data
        return WeightsShard(round_number, path, hashlib.sha256(data).hexdigest(), table.num_rows)

    def save(self, point: Checkpoint, progress: Progress) -> None:
        """Writes the shards and then the checkpoint that names them; where that fails, warns, and training goes on.

        Args:
            point: the checkpoint.
            progress: where the attempt is, for the warning.

        Raises:
            UnavailableError: so much waits to be written that the memory would not hold more.
        """
        given = self._assignment
        try:
            self.finish()
            checkpoints.write(self._blobs, given.tenant, given.job_id, given.attempt, point)
        except UnavailableError as error:
            if sum(map(len, self._waiting.values())) > _MOST_WAITING_BYTES:
                raise
            told = f"No checkpoint of step {point.step}, training goes on: {error}"
            self._emit(ProgressMessage(dataclasses.replace(progress, message=told), warning=True))

    def finish(self) -> None:
        """Writes all shards that wait.

        Raises:
            UnavailableError: the store is full or does not answer.
        """
        for path, data in list(self._waiting.items()):
            # Create only: the attempt is the fencing token, so whatever is there came from a try that seemed to fail.
            with contextlib.suppress(AlreadyExistsError):
                self._blobs.put_bytes(path, data)
            del self._waiting[path]


def parquet_bytes(table: pa.Table) -> bytes:
    """A Parquet file with row groups small enough for look-ups by id."""
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=65_536, compression="zstd")
    return sink.getvalue()

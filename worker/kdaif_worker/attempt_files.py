"""What an attempt writes while it trains: weights shards and checkpoints. A full disk costs neither rows nor rounds."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable
from typing import IO

import pyarrow.parquet as pq

from kdaif.errors import AlreadyExistsError, UnavailableError
from kdaif.processes import give_memory_back
from kdaif.records import Progress, WeightsShard
from kdaif.records.provenance import Provenance
from kdaif.rounds import WeightsRows
from kdaif.scratch import Scratch
from kdaif.store import BlobStore, layout
from kdaif_worker import checkpoint as checkpoints
from kdaif_worker.checkpoint import Checkpoint
from kdaif_worker.messages import Assignment, ProgressMessage

_MOST_WAITING_BYTES = 8 << 30
_READ_BYTES = 1 << 20


class AttemptFiles:
    """Writes to the blob store, and keeps in scratch what that refuses, to try again with the next write.

    Args:
        assignment: of the attempt.
        blobs: where to write.
        emit: is told what could not be written.
        scratch: where files are made, and wait; None makes them in memory or in the system's folder.
    """

    def __init__(
        self,
        assignment: Assignment,
        blobs: BlobStore,
        emit: Callable[[ProgressMessage], None],
        scratch: Scratch | None = None,
    ) -> None:
        self._assignment = assignment
        self._blobs = blobs
        self._emit = emit
        self._scratch = Scratch() if scratch is None else scratch
        self._waiting: dict[str, _Waiting] = {}

    def close(self) -> None:
        """Drops what still waits."""
        for waiting in self._waiting.values():
            waiting.file.close()

    def read_latest(self) -> Checkpoint:
        """The furthest checkpoint of this and earlier attempts."""
        given = self._assignment
        return checkpoints.read_latest(self._blobs, given.tenant, given.job_id, given.attempt, self._scratch)

    def add_weights(self, round_number: int, rows: WeightsRows, made_by: Provenance) -> WeightsShard:
        """A shard that is durable once the next `save` or `finish` returns without a warning.

        Args:
            round_number: whose training uses the weights.
            rows: of the shard.
            made_by: goes into its metadata.

        Raises:
            OSError: scratch has no room for it.
        """
        given, file = self._assignment, self._scratch.spooled()
        write_parquet(file, rows, made_by)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        sha256 = _sha256(file)
        path = layout.weights_shard(given.tenant, given.job_id, given.attempt, round_number)
        self._waiting[path] = _Waiting(file, size)
        return WeightsShard(round_number, path, sha256, rows.num_rows)

    def save(self, point: Checkpoint, progress: Progress) -> None:
        """Writes the shards and then the checkpoint that names them; where that fails, warns, and training goes on.

        Args:
            point: the checkpoint.
            progress: where the attempt is, for the warning.

        Raises:
            UnavailableError: so much waits to be written that scratch should not hold more.
        """
        given = self._assignment
        give_memory_back()
        try:
            self.finish()
            checkpoints.write(self._blobs, given.tenant, given.job_id, given.attempt, point, self._scratch)
        except (UnavailableError, OSError) as error:
            if sum(waiting.size for waiting in self._waiting.values()) > _MOST_WAITING_BYTES:
                raise
            told = f"No checkpoint of step {point.step}, training goes on: {error}"
            self._emit(ProgressMessage(dataclasses.replace(progress, message=told), warning=True))

    def finish(self) -> None:
        """Writes all shards that wait.

        Raises:
            UnavailableError: the store is full or does not answer.
        """
        for path, waiting in list(self._waiting.items()):
            waiting.file.seek(0)
            # Create only: the attempt is the fencing token, so whatever is there came from a try that seemed to fail.
            with contextlib.suppress(AlreadyExistsError):
                self._blobs.put_stream(path, waiting.file, waiting.size)
            waiting.file.close()
            del self._waiting[path]


@dataclasses.dataclass(frozen=True, eq=False)
class _Waiting:
    """A whole file that is open, and its bytes."""

    file: IO[bytes]
    size: int


def write_parquet(file: IO[bytes], rows: WeightsRows, made_by: Provenance) -> None:
    """A Parquet file of all rows, with row groups small enough for look-ups by id."""
    with pq.ParquetWriter(file, rows.schema.with_metadata(made_by.metadata()), compression="zstd") as writer:
        for batch in rows.batches():
            writer.write_batch(batch)


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := file.read(_READ_BYTES):
        digest.update(piece)
    return digest.hexdigest()

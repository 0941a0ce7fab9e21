"""What an attempt writes while it trains: weights shards and checkpoints. A full disk costs neither rows nor rounds."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from kdaif.collective import Collective
from kdaif.errors import AlreadyExistsError, UnavailableError
from kdaif.processes import give_memory_back
from kdaif.records import AttemptManifest, Progress, WeightsShard
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

    Where several processes share the attempt, the first of them writes.

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
        self._collective = Collective.of_this_process()

    def close(self) -> None:
        """Drops what still waits."""
        for waiting in self._waiting.values():
            waiting.file.close()

    def read_latest(self) -> Checkpoint:
        """The furthest checkpoint of this and earlier attempts."""
        given = self._assignment
        found = checkpoints.read_latest(self._blobs, given.tenant, given.job_id, given.attempt, self._scratch)
        self._collective.meet()  # before any of them writes another
        return found

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
        path = layout.weights_shard(given.tenant, given.job_id, given.attempt, round_number)
        return self._waits(path, file, round_number, rows.num_rows)

    def add_evidence(self, round_number: int, table: pa.Table) -> WeightsShard:
        """The explained samples, durable as the shards are.

        Args:
            round_number: of the weights that they explain.
            table: of `evidence_schema`.

        Raises:
            OSError: scratch has no room for it.
        """
        given, file = self._assignment, self._scratch.spooled()
        pq.write_table(table, file, compression="zstd")
        path = layout.evidence(given.tenant, given.job_id, given.attempt)
        return self._waits(path, file, round_number, table.num_rows)

    def _waits(self, path: str, file: IO[bytes], round_number: int, row_count: int) -> WeightsShard:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        sha256 = _sha256(file)
        self._waiting[path] = _Waiting(file, size)
        return WeightsShard(round_number, path, sha256, row_count)

    @contextlib.contextmanager
    def opened(self, shard: WeightsShard) -> Iterator[IO[bytes]]:
        """A shard of this or a former attempt, at its beginning, whether it waits or is written.

        Raises:
            UnavailableError: the store does not answer.
        """
        waiting = self._waiting.get(shard.path)
        if waiting is not None:
            waiting.file.seek(0)
            yield waiting.file
            return
        with self._scratch.spooled() as file:
            for chunk in self._blobs.iter_range(shard.path):
                file.write(chunk)
            file.seek(0)
            yield file

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
            if not self._collective.leads:
                return
            checkpoints.write(self._blobs, given.tenant, given.job_id, given.attempt, point, self._scratch)
        except (UnavailableError, OSError) as error:
            if sum(waiting.size for waiting in self._waiting.values()) > _MOST_WAITING_BYTES:
                raise
            told = f"No checkpoint of step {point.step}, training goes on: {error}"
            self._emit(ProgressMessage(dataclasses.replace(progress, message=told), warning=True))

    def publish_review(self, point: Checkpoint, class_names: tuple[str, ...]) -> None:
        """Names the weights so far, for the person who reviews the job.

        Raises:
            UnavailableError: the store is full or does not answer.
        """
        given = self._assignment
        self.finish()
        if not self._collective.leads:
            return
        manifest = AttemptManifest(
            job=given.job_id,
            attempt=given.attempt,
            class_names=class_names,
            bundle=(),
            weights=point.shards,
            created_at_ms=int(time.time() * 1000),
            evidence=point.evidence,
        )
        path = layout.review_manifest(given.tenant, given.job_id, given.attempt)
        self._blobs.replace_bytes(path, manifest.to_json())

    def finish(self) -> None:
        """Writes all shards that wait.

        Raises:
            UnavailableError: the store is full or does not answer.
        """
        newest = next(reversed(self._waiting), None)
        for path, waiting in list(self._waiting.items()):
            waiting.file.seek(0)
            # Create only: the attempt is the fencing token, so whatever is there came from a try that seemed to fail.
            if self._collective.leads:
                with contextlib.suppress(AlreadyExistsError):
                    self._blobs.put_stream(path, waiting.file, waiting.size)
            elif path == newest:
                continue  # for `opened`: the first process may not have written it yet
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

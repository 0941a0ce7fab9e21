"""Uploads in progress: bytes that arrive in order, survive a crash, and go on where they were."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from pydantic import TypeAdapter

from kdaif.errors import FailedPreconditionError, InvalidInputError, NotFoundError, UnavailableError
from kdaif.records import Dataset
from kdaif.store import layout, local_files
from kdaif.store.failures import translated

RECORD = TypeAdapter(Dataset)


class UploadWriter:
    """Appends to one upload and holds its lock. ``commit`` tells how many bytes are safe; close it in any case.

    Use it from one thread at a time.
    """

    def __init__(self, dataset: Dataset, descriptor: int) -> None:
        self._dataset = dataset
        self._descriptor: int | None = descriptor
        self._written = self._committed = os.fstat(descriptor).st_size

    def write(self, data: bytes) -> None:
        """Appends ``data``. It is not safe before `commit`.

        Raises:
            InvalidInputError: more bytes than were declared; none of ``data`` is written.
            UnavailableError: the disk is full or fails; the upload is back at the last commit.
        """
        if self._written + len(data) > self._dataset.size_bytes:
            raise InvalidInputError.of(
                "data",
                f"goes beyond the {self._dataset.size_bytes} bytes declared for data set {self._dataset.id}: "
                f"{len(data)} more after {self._written}; send the file that was declared",
            )
        view = memoryview(data)
        with self._undone_on_failure("write"):
            while view:
                count = os.write(self._open(), view)
                self._written += count
                view = view[count:]

    def commit(self) -> int:
        """Makes all bytes written so far safe against a crash; returns their number.

        Raises:
            UnavailableError: the disk is full or fails; the upload is back at the last commit.
        """
        with self._undone_on_failure("commit"):
            os.fsync(self._open())
        self._committed = self._written
        return self._committed

    def close(self) -> None:
        """Gives up the lock. May be called again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> UploadWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> int:
        if self._descriptor is None:
            raise FailedPreconditionError(f"the writer of data set {self._dataset.id} is closed; open another")
        return self._descriptor

    @contextmanager
    def _undone_on_failure(self, doing: str) -> Iterator[None]:
        try:
            with translated(f"{doing} the upload of data set {self._dataset.id}"):
                yield
        except UnavailableError:
            # After a failed write or fsync nobody knows which bytes are on the disk. Those up to the last commit are.
            os.ftruncate(self._open(), self._committed)
            self._written = self._committed
            raise


class Spool:
    """Uploads in progress in one local folder: ``{tenant}/{id}.part`` beside its record ``{tenant}/{id}.json``.

    The record is written last and removed first, so an upload exists exactly while its record does.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, dataset: Dataset) -> Dataset:
        """Starts an upload at 0 bytes, or returns the one that somebody else started first.

        Raises:
            UnavailableError: it is being started by another call right now.
        """
        part = self.part(dataset.tenant, dataset.id)
        with translated(f"start the upload of data set {dataset.id}"):
            local_files.make_folder(part.parent)
            part.touch(0o600)
        descriptor = self.lock(dataset)
        try:
            known = self.find(dataset.tenant, dataset.id)
            if known is not None:
                return known
            with translated(f"start the upload of data set {dataset.id}"):
                # Bytes without a record are what a crash left of an upload that was given up.
                os.ftruncate(descriptor, 0)
                record = io.BytesIO(RECORD.dump_json(dataset))
                local_files.write_file(self._record(part), record, overwrite=True)
            return dataset
        finally:
            os.close(descriptor)

    def find(self, tenant: str, dataset_id: str) -> Dataset | None:
        """The upload of that id, if one is in progress."""
        with translated(f"read the upload of data set {dataset_id}"):
            try:
                return RECORD.validate_json(self._record(self.part(tenant, dataset_id)).read_bytes())
            except FileNotFoundError:
                return None

    def ids(self, tenant: str) -> list[str]:
        """The ids of all uploads in progress, in ascending order."""
        folder = self._folder / layout.tenant_id(tenant)
        with translated(f"list the uploads of tenant {tenant}"):
            return sorted(file.stem for file in folder.glob("[0-9a-f]*.json"))

    @contextmanager
    def staged(self, tenant: str) -> Iterator[IO[bytes]]:
        """A file to look at, gone at the end of the block."""
        folder = self._folder / layout.tenant_id(tenant)
        with translated(f"write to {folder}"):
            local_files.make_folder(folder)
        with local_files.staged(folder) as file:
            yield file

    def part(self, tenant: str, dataset_id: str) -> Path:
        """The file that holds the bytes."""
        return self._folder / layout.tenant_id(tenant) / f"{layout.dataset_id(dataset_id)}.part"

    def durable_bytes(self, dataset: Dataset) -> int:
        """How many bytes are on the disk for good."""
        with translated(f"read the upload of data set {dataset.id}"):
            descriptor = os.open(self.part(dataset.tenant, dataset.id), os.O_RDWR)
            try:
                size = os.fstat(descriptor).st_size
                os.fsync(descriptor)  # what a killed server had written but not yet committed counts from here on
            finally:
                os.close(descriptor)
        return size

    def lock(self, dataset: Dataset) -> int:
        """Opens the bytes for appending, for one holder; the lock goes with the descriptor.

        Raises:
            NotFoundError: the upload ended meanwhile.
            UnavailableError: another writer holds it.
        """
        part = self.part(dataset.tenant, dataset.id)
        with translated(f"open the upload of data set {dataset.id}"):
            descriptor = os.open(part, os.O_RDWR | os.O_APPEND)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Locked, but perhaps after another holder published or gave up these very bytes.
            if os.fstat(descriptor).st_nlink == 0:
                raise NotFoundError(f"the upload of data set {dataset.id} has just ended; ask for the data set")
        except BlockingIOError as error:
            os.close(descriptor)
            raise UnavailableError(
                f"data set {dataset.id} is being written by another stream; wait for it to end and repeat"
            ) from error
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def remove(self, tenant: str, dataset_id: str) -> bool:
        """Ends an upload, whatever there is of it. Tells whether there was one."""
        part = self.part(tenant, dataset_id)
        known = self._record(part).exists()
        with translated(f"remove the upload of data set {dataset_id}"):
            self._record(part).unlink(missing_ok=True)
            part.unlink(missing_ok=True)
            if known:
                local_files.sync_folder(part.parent)
        return known

    def stale(self, max_age_s: float) -> list[Dataset]:
        """Uploads that nobody has written to for ``max_age_s`` seconds. Files without a record are removed."""
        found = []
        with translated(f"sweep {self._folder}"):
            for file in sorted(self._folder.glob("*/*")):
                if not local_files.older_than(file, max_age_s):
                    continue
                record = self._record(file) if file.suffix == ".part" else None
                if record is not None and record.exists():
                    found.append(RECORD.validate_json(record.read_bytes()))
                elif record is not None or local_files.is_staged(file.name):
                    file.unlink(missing_ok=True)
        return found

    @staticmethod
    def _record(part: Path) -> Path:
        return part.with_suffix(".json")

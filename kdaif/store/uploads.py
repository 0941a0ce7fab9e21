"""Uploads in progress: bytes that arrive in order, survive a crash, and go on where they were."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from pydantic import TypeAdapter

from kdaif.errors import FailedPreconditionError, InvalidInputError, NotFoundError, UnavailableError
from kdaif.records import Dataset
from kdaif.store import layout, local_files
from kdaif.store.failures import translated
from kdaif.store.room import Room

RECORD = TypeAdapter(Dataset)
PIECE, WHOLE = ".piece", ".whole"
"""Ends of the names of pieces: see `pieces`."""


class UploadWriter:
    """Appends to one upload and holds its lock. ``commit`` tells how many bytes are safe; close it in any case.

    Use it from one thread at a time.
    """

    def __init__(self, dataset: Dataset, descriptor: int, room: Room) -> None:
        self._dataset = dataset
        self._room = room
        self._descriptor: int | None = descriptor
        self._written = self._committed = os.fstat(descriptor).st_size

    def write(self, data: bytes) -> None:
        """Appends ``data``. It is not safe before `commit`.

        Raises:
            InvalidInputError: more bytes than were declared; none of ``data`` is written.
            UnavailableError: the disk is full or fails. What fitted is kept where the disk takes it, else the upload is
                back at the last commit.
        """
        if self._written + len(data) > self._dataset.size_bytes:
            raise InvalidInputError.of(
                "data",
                f"goes beyond the {self._dataset.size_bytes} bytes declared for data set {self._dataset.id}: "
                f"{len(data)} more after {self._written}; send the file that was declared",
            )
        self._room.require(len(data), f"write the upload of data set {self._dataset.id}")
        view = memoryview(data)
        try:
            with translated(f"write the upload of data set {self._dataset.id}"):
                while view:
                    count = os.write(self._open(), view)
                    self._written += count
                    view = view[count:]
        except UnavailableError:
            # What others were told by `durable_bytes` must not be taken back, and need not be sent again.
            self.commit()
            raise

    def commit(self) -> int:
        """Makes all bytes written so far safe against a crash; returns their number.

        Raises:
            UnavailableError: the disk is full or fails; the upload is back at the last commit.
        """
        try:
            with translated(f"commit the upload of data set {self._dataset.id}"):
                os.fsync(self._open())
        except UnavailableError:
            # After a failed fsync nobody knows which bytes are on the disk. Those up to the last commit are.
            os.ftruncate(self._open(), self._committed)
            self._written = self._committed
            raise
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


class Spool:
    """Uploads in progress in one local folder: ``{tenant}/{id}.part`` beside its record ``{tenant}/{id}.json``.

    The record is written last and removed first, so an upload exists exactly while its record does. Two locks
    hold, also among processes that share the folder: `locked` of a tenant, for the short steps that begin or end an
    upload, and `lock` of one upload, for as long as somebody writes it. Who wants both does not wait for the second.

    Args:
        folder: where the files lie.
        reserve_bytes: free space of its disk that uploads leave alone.
    """

    def __init__(self, folder: Path, reserve_bytes: int = 0) -> None:
        self._folder = folder
        self.room = Room(folder, reserve_bytes)

    @contextmanager
    def locked(self, tenant: str) -> Iterator[None]:
        """Nobody else begins, publishes or deletes a data set of the tenant during the block. Does not nest."""
        with ExitStack() as stack:
            with translated(f"lock the uploads of tenant {tenant}"):
                stack.enter_context(local_files.locked(self._folder / f"{layout.tenant_id(tenant)}.lock"))
            yield

    def create(self, dataset: Dataset) -> None:
        """Starts an upload at 0 bytes. The caller has `locked` the tenant and found none."""
        part = self.part(dataset.tenant, dataset.id)
        with translated(f"start the upload of data set {dataset.id}"):
            local_files.make_folder(part.parent)
            # Bytes without a record are what a crash left. They may have a second name by now, so they are not reused.
            part.unlink(missing_ok=True)
            part.touch(0o600, exist_ok=False)
            record = io.BytesIO(RECORD.dump_json(dataset))
            local_files.write_file(self._record(part), record, overwrite=True)

    def find(self, tenant: str, dataset_id: str) -> Dataset | None:
        """The upload of that id, if one is in progress."""
        part = self.part(tenant, dataset_id)
        with translated(f"read the upload of data set {dataset_id}"):
            try:
                record = self._record(part).read_bytes()
            except FileNotFoundError:
                return None
            # A record alone is what is left of a spool that was lost or restored in part.
            return RECORD.validate_json(record) if part.exists() else None

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
            if not _is_named(descriptor, part):
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
            for suffix in (PIECE, WHOLE):
                for piece in part.parent.glob(f"{part.stem}.*{suffix}"):
                    piece.unlink(missing_ok=True)
            if known:
                local_files.sync_folder(part.parent)
        return known

    def sweep(self, max_age_s: float) -> list[Dataset]:
        """Gives up uploads that nobody has written to for ``max_age_s`` seconds, and what crashes left; tells which."""
        given_up = []
        with translated(f"sweep {self._folder}"):
            for file in sorted(self._folder.glob("*/*")):
                if not local_files.older_than(file, max_age_s):
                    continue
                if local_files.is_staged(file.name) or _is_stray_piece(file):
                    file.unlink(missing_ok=True)
                elif file.suffix == ".part":
                    with self.locked(file.parent.name), suppress(FileNotFoundError):
                        dataset = self._give_up(file, max_age_s)
                        given_up += [] if dataset is None else [dataset]
        return given_up

    def _give_up(self, part: Path, max_age_s: float) -> Dataset | None:
        with part.open("rb+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None  # a slow writer is still there
            # Nobody can write from here on; somebody may have, since the look that led here.
            if not _is_named(file.fileno(), part) or not local_files.older_than(part, max_age_s):
                return None
            dataset = self.find(part.parent.name, part.stem)
            self.remove(part.parent.name, part.stem)
            return dataset

    @staticmethod
    def _record(part: Path) -> Path:
        return part.with_suffix(".json")


def _is_named(descriptor: int, file: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _is_stray_piece(file: Path) -> bool:
    """A piece goes with its upload; this one came while that was given up."""
    return file.suffix in (PIECE, WHOLE) and not file.with_name(f"{file.name.partition('.')[0]}.part").exists()

"""Pieces of one upload, each written on its own and several at a time, and joined in their order.

A piece lies beside the upload's ``{id}.part`` as ``{id}.{start}.piece`` while it is written, and as ``.whole`` once its
hash holds. Pieces lie on a fixed grid, so that all of one upload take no more than its declared size.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from kdaif.errors import DataCorruptedError, FailedPreconditionError, InvalidInputError, UnavailableError
from kdaif.records import Dataset
from kdaif.store import layout, local_files
from kdaif.store.failures import translated
from kdaif.store.uploads import PIECE, WHOLE, Spool, UploadWriter


class Pieces:
    """The pieces of the uploads in one spool. Each may have one writer at a time.

    Args:
        spool: where the uploads lie.
        piece_bytes: size of every piece but the last of an upload.
    """

    def __init__(self, spool: Spool, piece_bytes: int) -> None:
        self._spool = spool
        self.piece_bytes = piece_bytes

    def open_writer(self, dataset: Dataset, start: int, offset: int) -> UploadWriter:
        """Goes on with the piece that begins at ``start``, at ``offset`` of it.

        Raises:
            InvalidInputError: no piece begins there.
            FailedPreconditionError: ``offset`` is not what `committed` tells.
            UnavailableError: somebody else writes it, or there is no room for it.
        """
        size = self.size(dataset, start)
        committed = self.committed(dataset, start)
        if offset != committed or self.is_done(dataset, start):
            raise FailedPreconditionError(
                f"the piece at {start} of data set {dataset.id} has {committed} of {size} bytes, so {offset} is "
                f"the wrong place; go on at {committed}"
            )
        with translated(f"open the piece at {start} of data set {dataset.id}"):
            # The upload is not one that nobody writes to.
            os.utime(self._spool.part(dataset.tenant, dataset.id))
            descriptor = os.open(self._file(dataset, start, PIECE), os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self._lock(descriptor, dataset, start)
            if os.fstat(descriptor).st_size != offset:
                raise FailedPreconditionError(
                    f"the piece at {start} of data set {dataset.id} has grown meanwhile; ask how far it is"
                )
            return UploadWriter(replace(dataset, size_bytes=size), descriptor, self._spool.room)
        except BaseException:
            os.close(descriptor)
            raise

    def committed(self, dataset: Dataset, start: int) -> int:
        """How many bytes of the piece are on the disk for good. Raises InvalidInputError where no piece begins."""
        size = self.size(dataset, start)
        if self.is_done(dataset, start):
            return size
        with translated(f"read the piece at {start} of data set {dataset.id}"):
            try:
                descriptor = os.open(self._file(dataset, start, PIECE), os.O_RDWR)
            except FileNotFoundError:
                return 0
            try:
                written = os.fstat(descriptor).st_size
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return written

    def finish(self, dataset: Dataset, start: int, sha256: str) -> None:
        """Verifies a piece and joins what may be joined. Repeated, it changes nothing.

        Raises:
            InvalidInputError: no piece begins there, or a wrong hash.
            FailedPreconditionError: bytes are missing.
            DataCorruptedError: the bytes have another hash; the piece is discarded, and may be sent again.
            UnavailableError: somebody writes it, or the disk is full or fails. The piece is kept.
        """
        layout.sha256_hex(sha256)
        size = self.size(dataset, start)
        if not self.is_done(dataset, start):
            self._verify(dataset, start, size, sha256)
        with suppress(UnavailableError):  # who holds the upload joins it, or the end of the upload does
            descriptor = self._spool.lock(dataset)
            try:
                self.join(dataset)
            finally:
                os.close(descriptor)

    def join(self, dataset: Dataset) -> None:
        """Appends every verified piece whose turn it is. The caller holds the lock of the upload.

        After a crash in between, the rest of a piece follows: the size of the upload tells how far it was.
        """
        part = self._spool.part(dataset.tenant, dataset.id)
        with translated(f"join the pieces of data set {dataset.id}"), part.open("ab") as target:
            while (size := target.tell()) < dataset.size_bytes:
                start = size // self.piece_bytes * self.piece_bytes
                piece = self._file(dataset, start, WHOLE)
                if not piece.exists():
                    break
                with piece.open("rb") as source:
                    source.seek(size - start)
                    shutil.copyfileobj(source, target, local_files.COPY_BYTES)
                target.flush()
                os.fsync(target.fileno())
                piece.unlink()

    def is_done(self, dataset: Dataset, start: int) -> bool:
        """Whether the piece is verified, joined or not. Raises InvalidInputError where no piece begins."""
        if self._file(dataset, start, WHOLE).exists():
            return True
        # In this order: a piece is joined before it goes.
        with translated(f"read the upload of data set {dataset.id}"):
            joined = self._spool.part(dataset.tenant, dataset.id).stat().st_size
        return joined >= start + self.size(dataset, start)

    def size(self, dataset: Dataset, start: int) -> int:
        """Bytes of the piece when it is whole. Raises InvalidInputError where no piece begins."""
        if start < 0 or start >= dataset.size_bytes or start % self.piece_bytes:
            raise InvalidInputError.of(
                "piece.start",
                f"is {start}; pieces of data set {dataset.id} begin at multiples of {self.piece_bytes} below its "
                f"{dataset.size_bytes} bytes",
            )
        return min(self.piece_bytes, dataset.size_bytes - start)

    def _verify(self, dataset: Dataset, start: int, size: int, sha256: str) -> None:
        piece = self._file(dataset, start, PIECE)
        with translated(f"read the piece at {start} of data set {dataset.id}"):
            try:
                file = piece.open("rb")
            except FileNotFoundError as error:
                raise FailedPreconditionError(
                    f"the piece at {start} of data set {dataset.id} has no bytes; send it from 0 on"
                ) from error
            with file:
                self._lock(file.fileno(), dataset, start)
                written = os.fstat(file.fileno()).st_size
                if written != size:
                    raise FailedPreconditionError(
                        f"the piece at {start} of data set {dataset.id} has {written} of {size} bytes; send the rest"
                    )
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digest != sha256:
                    piece.unlink()
                    raise DataCorruptedError(
                        f"the piece at {start} of data set {dataset.id} was declared with hash {sha256} but its bytes "
                        f"have {digest}; it is discarded, so send it again"
                    )
                os.fsync(file.fileno())
                piece.replace(piece.with_suffix(WHOLE))
                local_files.sync_folder(piece.parent)

    def _file(self, dataset: Dataset, start: int, suffix: str) -> Path:
        part = self._spool.part(dataset.tenant, dataset.id)
        return part.with_name(f"{part.stem}.{start:015d}{suffix}")

    @staticmethod
    def _lock(descriptor: int, dataset: Dataset, start: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnavailableError(
                f"the piece at {start} of data set {dataset.id} is being written by another stream; wait for it to end "
                "and repeat"
            ) from error

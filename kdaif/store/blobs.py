"""BlobStore: immutable bytes by path, on a local disk or in an S3-compatible store."""

from __future__ import annotations

import builtins
import heapq
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import LocalStore, ObjectStore, from_url

from kdaif.errors import AlreadyExistsError, InvalidInputError
from kdaif.store import local_files
from kdaif.store.failures import translated

# One request may carry this much; the store can then refuse to overwrite by itself, which parts cannot.
_ONE_REQUEST_BYTES = 64 << 20
# What a reader holds in memory; a store far away needs some for each round trip.
_ONE_RANGE_BYTES = 4 << 20


@dataclass(frozen=True)
class BlobEntry:
    """One blob as a listing tells it. ``age_s`` is the time since it was written, by the clock of this host."""

    path: str
    size_bytes: int
    age_s: float


class BlobStore:
    """Blobs by path. Paths come from ``kdaif.store.layout``. Threads may share one instance."""

    def __init__(self, store: ObjectStore, root: Path | None) -> None:
        self._store = store
        self._root = root

    @classmethod
    def open(cls, url: str) -> BlobStore:
        """Opens the store at ``file:///absolute/folder`` or ``s3://bucket/prefix``.

        S3 credentials and endpoint come from the usual AWS environment variables.

        Raises:
            InvalidInputError: any other form of url.
            UnavailableError: the folder cannot be made.
        """
        parts = urlsplit(url)
        if parts.scheme == "s3" and parts.netloc:
            with translated(f"open {url}"):
                return cls(from_url(url), None)
        if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
            root = Path(unquote(parts.path))
            with translated(f"open {url}"):
                local_files.make_folder(root)
                return cls(LocalStore(prefix=root), root)
        raise InvalidInputError.of("blob_url", f"is {url!r}; write file:///absolute/folder or s3://bucket/prefix")

    @property
    def local_root(self) -> Path | None:
        """The folder of a store on a local disk; None for an object store."""
        return self._root

    def put_bytes(self, path: str, data: bytes) -> None:
        """Stores new bytes; durable before it returns.

        Raises:
            AlreadyExistsError: something is stored there.
            UnavailableError: the store is full or does not answer.
        """
        with translated(f"write {path}"):
            if self._root is None:
                obstore.put(self._store, path, data, mode="create")
            else:
                local_files.write_file(self._root / path, io.BytesIO(data), overwrite=False)

    def put_file(self, path: str, file: Path) -> None:
        """Stores a new file, streamed; durable before it returns.

        Over 64 MiB an object store takes parts and cannot refuse to overwrite, so two writers who start at the same
        moment both succeed. Such paths carry a content hash or a fencing token, which makes them write the same.

        Raises:
            AlreadyExistsError: something is stored there.
            UnavailableError: the store is full or does not answer.
        """
        with file.open("rb") as source:
            self.put_stream(path, source, file.stat().st_size)

    def put_stream(self, path: str, source: IO[bytes], size: int) -> None:
        """Stores so many bytes of a file that is open at its beginning, as `put_file` does."""
        if self._root is not None:
            with translated(f"write {path}"):
                local_files.write_file(self._root / path, source, overwrite=False)
        elif size <= _ONE_REQUEST_BYTES:
            self.put_bytes(path, source.read())
        else:
            if self.exists(path):
                raise AlreadyExistsError(f"could not write {path}: something is stored there already")
            self._put_parts(path, source)

    def take_file(self, path: str, file: Path) -> None:
        """Stores a new file as `put_file` does, but on one file system by a second name instead of a copy.

        The file must be durable already, and nobody may change its bytes afterwards; it may be removed.

        Raises:
            AlreadyExistsError: something is stored there.
            UnavailableError: the store is full or does not answer.
        """
        with translated(f"write {path}"):
            if self._root is not None and local_files.link_file(self._root / path, file):
                return
        self.put_file(path, file)

    def _put_parts(self, path: str, source: IO[bytes]) -> None:
        with translated(f"write {path}"):
            obstore.put(self._store, path, source, use_multipart=True, chunk_size=16 << 20, max_concurrency=4)

    def replace_bytes(self, path: str, data: bytes) -> None:
        """Stores bytes whether or not some are there; readers see the old or the new, never a mixture.

        Raises:
            UnavailableError: the store is full or does not answer.
        """
        with translated(f"write {path}"):
            if self._root is None:
                obstore.put(self._store, path, data, mode="overwrite", use_multipart=False)
            else:
                local_files.write_file(self._root / path, io.BytesIO(data), overwrite=True)

    def replace_stream(self, path: str, source: IO[bytes], size: int) -> None:
        """Stores so many bytes of a file that is open at its beginning, as `replace_bytes` does.

        Raises:
            UnavailableError: the store is full or does not answer.
        """
        if self._root is not None:
            with translated(f"write {path}"):
                local_files.write_file(self._root / path, source, overwrite=True)
        elif size <= _ONE_REQUEST_BYTES:
            self.replace_bytes(path, source.read())
        else:
            self._put_parts(path, source)

    def get_bytes(self, path: str) -> bytes:
        """All bytes of a small blob.

        Raises:
            NotFoundError: nothing is stored there.
            UnavailableError: the store does not answer.
        """
        with translated(f"read {path}"):
            return obstore.get(self._store, path).bytes().to_bytes()

    def iter_range(
        self, path: str, offset: int = 0, length: int | None = None, chunk_bytes: int = 1 << 19
    ) -> Iterator[bytes]:
        """Bytes from ``offset`` on, at most ``length``, in chunks of ``chunk_bytes``; only the last may be smaller.

        Raises:
            InvalidInputError: ``offset`` is beyond the end, or a number is negative.
            NotFoundError: nothing is stored there.
            UnavailableError: the store does not answer.
        """
        size = self.size(path)
        if not 0 <= offset <= size:
            raise InvalidInputError.of("offset", f"is {offset}; {path} has {size} bytes")
        if (length is not None and length < 0) or chunk_bytes < 1:
            raise InvalidInputError.of("length", f"is {length} in chunks of {chunk_bytes}; ask for a positive number")
        left = size - offset if length is None else min(length, size - offset)
        if not left:
            return
        # A stream of obstore's comes in pieces of 8 KiB from a disk, and takes twenty times the processor of a range.
        block_bytes = max(chunk_bytes, _ONE_RANGE_BYTES // chunk_bytes * chunk_bytes)
        for start in range(offset, offset + left, block_bytes):
            with translated(f"read {path}"):
                end = min(start + block_bytes, offset + left)
                block = memoryview(obstore.get_range(self._store, path, start=start, end=end))
            for at in range(0, len(block), chunk_bytes):
                yield bytes(block[at : at + chunk_bytes])

    def size(self, path: str) -> int:
        """Number of bytes.

        Raises:
            NotFoundError: nothing is stored there.
            UnavailableError: the store does not answer.
        """
        with translated(f"read {path}"):
            return obstore.head(self._store, path)["size"]

    def exists(self, path: str) -> bool:
        """Whether something is stored there.

        Raises:
            UnavailableError: the store does not answer.
        """
        with translated(f"look for {path}"):
            try:
                obstore.head(self._store, path)
            except FileNotFoundError:
                return False
            return True

    def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[str]:
        """Paths below the folder ``prefix`` in ascending order, from the first that is greater than ``after``.

        Raises:
            UnavailableError: the store does not answer.
        """
        with translated(f"list {prefix}"):
            paths = self._paths(prefix, after)
            if self._root is not None:
                return heapq.nsmallest(limit, paths)  # a disk lists in any order
            return [path for path, _ in zip(paths, range(limit), strict=False)]

    def entries(self, prefix: str) -> Iterator[BlobEntry]:
        """Every blob below the folder ``prefix``, in any order, a thousand to a request.

        Raises:
            UnavailableError: the store does not answer.
        """
        with translated(f"list {prefix}"):
            for page in obstore.list(self._store, prefix):
                for found in page:
                    if not local_files.is_staged(found["path"]):
                        age_s = time.time() - found["last_modified"].timestamp()
                        yield BlobEntry(found["path"], found["size"], age_s)

    def folders(self, prefix: str) -> builtins.list[str]:
        """The names of the folders that lie directly in the folder ``prefix``, in ascending order.

        Raises:
            UnavailableError: the store does not answer.
        """
        with translated(f"list {prefix}"):
            found = obstore.list_with_delimiter(self._store, prefix)["common_prefixes"]
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def files(self, prefix: str) -> builtins.list[str]:
        """The paths of the blobs that lie directly in the folder ``prefix``, in ascending order.

        Raises:
            UnavailableError: the store does not answer.
        """
        with translated(f"list {prefix}"):
            found = [entry["path"] for entry in obstore.list_with_delimiter(self._store, prefix)["objects"]]
        return sorted(path for path in found if not local_files.is_staged(path))

    def _paths(self, prefix: str, after: str) -> Iterator[str]:
        for page in obstore.list(self._store, prefix, offset=after or None):
            for entry in page:
                if not local_files.is_staged(entry["path"]):
                    yield entry["path"]

    def delete(self, path: str) -> None:
        """Removes what is stored there, if anything.

        Raises:
            UnavailableError: the store does not answer.
        """
        with translated(f"delete {path}"):
            try:
                obstore.delete(self._store, path)
            except FileNotFoundError:
                return

    def prune(self, prefix: str) -> None:
        """Removes the empty folders below ``prefix``, and itself; a disk has such, an object store has none."""
        if self._root is not None:
            local_files.remove_empty_folders(self._root / prefix)

    def sweep(self, max_age_s: float) -> builtins.list[str]:
        """Removes what crashed writers left half written on a local disk longer than ``max_age_s`` ago; tells what.

        An object store does this itself, by a lifecycle rule for incomplete uploads.
        """
        if self._root is None:
            return []
        with translated(f"sweep {self._root}"):
            leftovers = [
                file
                for file in self._root.rglob("*")
                if local_files.is_staged(file.name) and local_files.older_than(file, max_age_s)
            ]
            for file in leftovers:
                file.unlink(missing_ok=True)
        return [str(file) for file in leftovers]

"""Data sets that stay where they are: files below allowed folders, objects below allowed prefixes of buckets.

A server reads these places with its own rights, for whoever may call it. So nothing is read that an administrator has
not allowed, whatever the URI spells and whatever links lie on the way.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import obstore
from obstore.store import from_url

from kdaif.errors import InvalidInputError
from kdaif.store.failures import translated

_CHUNK_BYTES = 1 << 20
_FORM = "write file:///absolute/path or s3://bucket/key"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class Source:
    """Bytes at a URI, read once from the start. ``etag`` is empty where the place has none."""

    chunks: Iterator[bytes]
    etag: str = ""


@dataclass(frozen=True)
class References:
    """What may be read by reference; nothing by default.

    Attributes:
        allowed_roots: absolute folders; files in them and below are allowed, for every tenant.
        allowed_buckets: ``s3://bucket`` or ``s3://bucket/prefix``; keys below are allowed, for every tenant.
        s3_endpoint: of an S3-compatible store; empty for Amazon's. Credentials come from the environment.
    """

    allowed_roots: tuple[Path, ...] = ()
    allowed_buckets: tuple[str, ...] = ()
    s3_endpoint: str = ""

    @contextmanager
    def open(self, uri: str) -> Iterator[Source]:
        """The bytes at ``uri``, for the time of the block.

        Raises:
            InvalidInputError: another form of URI, a place that is not allowed, or no regular file.
            NotFoundError: nothing is there.
            UnavailableError: the place does not answer.
        """
        scheme, separator, rest = uri.partition("://")
        place, slash, path = rest.partition("/")
        parts = path.split("/")
        if not separator or not slash or scheme not in ("file", "s3"):
            raise _refused(uri, _FORM)
        if not uri.isprintable() or any(letter in uri for letter in "?#\\"):
            raise _refused(uri, f"a query, a fragment, a backslash or a control character is no part of it; {_FORM}")
        if scheme == "file":
            # Decoded once, and never again: what a name spells after that is its name.
            names = [unquote(part, errors="strict") for part in parts] if _is_utf8(path) else [""]
            _check_names(uri, names)
            if place:
                raise _refused(uri, f"it names the host {place!r}, and only the server's own files are read; {_FORM}")
            with _opened(self._allowed_file(uri, Path("/", *names))) as source:
                yield source
        else:
            _check_names(uri, parts)
            self._check_bucket(uri, place)
            with self._object(place, path) as source:
                yield source

    def _allowed_file(self, uri: str, path: Path) -> tuple[Path, Path]:
        """The allowed folder and the file's own path below it, free of links as of now."""
        real = Path(os.path.realpath(path))
        for root in self.allowed_roots:
            real_root = Path(os.path.realpath(root))
            if real != real_root and real.is_relative_to(real_root):
                return real_root, real.relative_to(real_root)
        # The same words whether or not something is there: what lies outside is nobody's business.
        raise _refused(uri, "it is outside the folders that this machine allows; see KDAIF_ALLOWED_ROOTS there")

    def _check_bucket(self, uri: str, bucket: str) -> None:
        allowed = (f"{prefix.rstrip('/')}/" for prefix in self.allowed_buckets)
        if _BUCKET.fullmatch(bucket) is None or not any(uri.startswith(prefix) for prefix in allowed):
            raise _refused(uri, "it is outside the buckets that this machine allows; see KDAIF_ALLOWED_BUCKETS there")

    @contextmanager
    def _object(self, bucket: str, key: str) -> Iterator[Source]:
        uri = f"s3://{bucket}/{key}"
        endpoint = {"endpoint": self.s3_endpoint} if self.s3_endpoint else {}
        plain = {"allow_http": True} if self.s3_endpoint.startswith("http://") else {}
        with translated(f"read {uri}"):
            store = from_url(f"s3://{bucket}", config=endpoint, client_options=plain)  # type: ignore[call-overload]
            found = obstore.get(store, key)
            etag = str(found.meta["e_tag"] or "").strip('"')

            def chunks() -> Iterator[bytes]:
                with translated(f"read {uri}"):
                    for piece in found.stream(min_chunk_size=_CHUNK_BYTES):
                        yield bytes(piece)

            # Errors of the block itself must not be taken for errors of the store.
        yield Source(chunks(), etag)


@contextmanager
def _opened(place: tuple[Path, Path]) -> Iterator[Source]:
    """A regular file, opened folder by folder from its root, so that no link put there meanwhile is followed."""
    root, below = place
    file = root / below
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with translated(f"read {file}"):
        descriptor = os.open(root, flags | os.O_DIRECTORY)
        try:
            for name in below.parts[:-1]:
                descriptor = _next(descriptor, name, flags | os.O_DIRECTORY)
            # A pipe would else wait for a writer.
            descriptor = _next(descriptor, below.name, flags | os.O_NONBLOCK)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _refused(f"file://{file}", "it is no regular file; name one")
        except BaseException:
            os.close(descriptor)
            raise
    with os.fdopen(descriptor, "rb") as opened:

        def chunks() -> Iterator[bytes]:
            with translated(f"read {file}"):
                while chunk := opened.read(_CHUNK_BYTES):
                    yield chunk

        yield Source(chunks())


def _next(folder: int, name: str, flags: int) -> int:
    """Opens a name in an open folder and closes the folder, unless it cannot be opened."""
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except NotADirectoryError as error:
        raise FileNotFoundError(name) from error
    os.close(folder)
    return descriptor


def _check_names(uri: str, names: list[str]) -> None:
    for name in names:
        if name in ("", ".", "..") or "/" in name or not name.isprintable():
            raise _refused(
                uri, f"{name!r} is no name on a path; write it out, without '.', '..', '//' or an encoded '/'"
            )


def _is_utf8(text: str) -> bool:
    try:
        unquote(text, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _refused(uri: str, why: str) -> InvalidInputError:
    return InvalidInputError.of("uri", f"is {uri[:300]!r}: {why}")

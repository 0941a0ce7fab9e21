"""Durable, all-or-nothing files on a local disk.

The object store library renames into place but does not fsync, so a power cut could lose what was acknowledged.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

COPY_BYTES = 1 << 20
_STAGED = ".staged-"
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


def write_file(target: Path, source: IO[bytes], *, overwrite: bool) -> None:
    """Writes ``target`` so that it is either whole and durable, or not there.

    Raises:
        FileExistsError: it exists and ``overwrite`` is off.
        OSError: the disk is full or fails.
    """
    make_folder(target.parent)
    with staged(target.parent) as file:
        shutil.copyfileobj(source, file, COPY_BYTES)
        publish(file, target, overwrite=overwrite)


@contextmanager
def staged(folder: Path) -> Iterator[IO[bytes]]:
    """A temporary file in ``folder``, gone at the end unless published."""
    # The name is one that listings skip: see `is_staged`.
    with NamedTemporaryFile(dir=folder, prefix=_STAGED, delete=False) as file:
        try:
            yield file
        finally:
            with suppress(FileNotFoundError):
                Path(file.name).unlink()


def publish(file: IO[bytes], target: Path, *, overwrite: bool) -> None:
    """Gives a staged file its name, bytes first.

    Raises:
        FileExistsError: the name is taken and ``overwrite`` is off.
    """
    file.flush()
    os.fsync(file.fileno())
    if overwrite:
        Path(file.name).replace(target)
    else:
        os.link(file.name, target)
    sync_folder(target.parent)


def link_file(target: Path, source: Path) -> bool:
    """Gives a durable file a second name; False where the two folders cannot share it. No byte is copied.

    Raises:
        FileExistsError: the name is taken.
    """
    make_folder(target.parent)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    sync_folder(target.parent)
    return True


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Waits until nobody else, thread or process, is in such a block for the same file."""
    make_folder(file.parent)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents; new names are durable."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def remove_empty_folders(folder: Path) -> None:
    """Removes a folder and those below it, as far as no file is in them."""
    for place, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # it holds something
            Path(place).rmdir()


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_staged(name: str) -> bool:
    """Whether a path is that of a file that was never published."""
    return name.rpartition("/")[2].startswith(_STAGED)


def older_than(file: Path, age_s: float) -> bool:
    """Whether a file was last written more than ``age_s`` seconds ago. False once it is gone."""
    try:
        return time.time() - file.stat().st_mtime > age_s
    except FileNotFoundError:
        return False

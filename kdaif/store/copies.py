"""Local copies of data sets, for those who read files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from kdaif.errors import DataCorruptedError
from kdaif.records import Dataset
from kdaif.store import local_files
from kdaif.store.failures import translated
from kdaif.store.kinds import copy_name


def local_copy(
    dataset: Dataset, cache_dir: Path, open_bytes: Callable[[], AbstractContextManager[Iterator[bytes]]]
) -> Path:
    """The copy in ``cache_dir``, made of the bytes that ``open_bytes`` gives where there is none yet.

    Raises:
        DataCorruptedError: the bytes do not have the recorded hash.
        UnavailableError: the disk is full.
    """
    target = cache_dir / copy_name(dataset)
    if target.exists() and target.stat().st_size == dataset.size_bytes:
        return target
    digest, size = hashlib.sha256(), 0
    with translated(f"write a copy of data set {dataset.id} to {cache_dir}"):
        local_files.make_folder(cache_dir)
        with open_bytes() as chunks, local_files.staged(cache_dir) as file:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                if size > dataset.size_bytes:
                    break  # it has another hash, and may have no end
                file.write(chunk)
            if digest.hexdigest() != dataset.sha256:
                raise _changed(dataset, digest.hexdigest(), size)
            local_files.publish(file, target, overwrite=True)
    return target


def _changed(dataset: Dataset, found: str, size: int) -> DataCorruptedError:
    if dataset.uri:
        return DataCorruptedError(
            f"{dataset.uri} has changed since it was registered as data set {dataset.id}, with {dataset.size_bytes} "
            f"bytes and hash {dataset.sha256}: its first {size} bytes now have hash {found}; register it again for a "
            "new data set, or put the old file back"
        )
    return DataCorruptedError(
        f"the stored bytes of data set {dataset.id} have hash {found} instead of {dataset.sha256}; delete it and "
        "upload it again"
    )

"""A folder whose content changes in one step."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kdaif_client.bundle import MANIFEST
from kdaif_client.errors import CorruptDownload, InvalidArgument

try:
    import fcntl
except ImportError:  # Windows: two at once are then not kept apart, and still verify what they put in place
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Place:
    """Where a version's files go, and whether the folder holds another version as yet."""

    folder: Path
    changes: bool


@contextmanager
def swapped(folder: Path, version: str) -> Iterator[Place]:
    """Gives a place for the files of a version; leaving the block in peace makes ``folder`` a link to it.

    Versions lie beside the folder, in ``.{name}.versions``, where the present one and the one before are kept: a
    program that reads the old one goes on doing so. What an interrupted run left of a version is kept for the next.

    Raises:
        CorruptDownload: the version has no name that could be a folder's.
        InvalidArgument: something that is no bundle lies in ``folder``.
    """
    if re.fullmatch(r"[0-9A-Za-z]{1,64}", version) is None:
        raise CorruptDownload(f"The server names a student {version!r}, which is no id; nothing was downloaded.")
    if folder.is_symlink() and _version_of(folder) is None:
        folder = folder.resolve()  # somebody's own link stays, and what it leads to is swapped
    folder = folder.parent.resolve() / folder.name
    versions = _versions(folder)
    _refuse_foreign(folder)
    versions.mkdir(parents=True, exist_ok=True)
    with _alone(versions / ".lock"):
        before = _version_of(folder)
        place = Place(versions / version, before != version)
        yield place
        if place.changes:
            _make_way(folder, versions)
            link = versions / ".next"
            link.unlink(missing_ok=True)
            # Relative, so that the folder may be moved or mounted elsewhere together with its versions.
            link.symlink_to(Path(versions.name) / version, target_is_directory=True)
            link.replace(folder)
            _drop_others(versions, {version, before or ""})


def refuse_swapped(folder: Path) -> None:
    """Raises InvalidArgument for a folder that `swapped` keeps: what lies there is the version of the link's name."""
    if _version_of(folder) is not None:
        raise InvalidArgument.of(
            "folder",
            f"{folder} is kept by `kdaif pull --alias`, and devices run what is in it; give another folder, or have "
            "the line name this student: kdaif alias champion STUDENT",
        )


def _versions(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.versions"


def _version_of(folder: Path) -> str | None:
    """None where the folder is not, or is no link that `swapped` made."""
    if not folder.is_symlink():
        return None
    target = folder.readlink()
    return target.name if target.parent == Path(_versions(folder).name) else None


def _refuse_foreign(folder: Path) -> None:
    if folder.is_symlink() or not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MANIFEST).is_file()):
        raise InvalidArgument.of("folder", f"{folder} holds something else than a student; give another folder")


def _make_way(folder: Path, versions: Path) -> None:
    """A real folder, from a pull of before, cannot be replaced by a link in one step; this once there are two."""
    if folder.is_dir() and not folder.is_symlink():
        aside = versions / ".aside"
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)


def _drop_others(versions: Path, kept: set[str]) -> None:
    for entry in versions.iterdir():
        if entry.is_dir() and entry.name not in kept:
            shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Two pulls of one device, of which the first is slow, take turns."""
    with file.open("a") as handle:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield

"""Fetches a bundle: resumes, verifies every byte, and only then puts files in place."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kdaif_proto.v1 import students_pb2 as pb

from kdaif_client._async.rpc import AsyncPatience, AsyncRpc
from kdaif_client._async.running import in_thread
from kdaif_client._rpc import was_cut
from kdaif_client._signature import SIGNATURE, check, write_signature
from kdaif_client.bundle import MANIFEST, local_path, read_manifest, sha256_of
from kdaif_client.errors import CorruptDownload, KdaifClientError
from kdaif_client.types import BundleFile, StudentInfo

_STREAM_S = 600.0
_SLOWEST_BYTES_S = 64 * 1024

Progress = Callable[[int, int], None]


async def download(
    rpc: AsyncRpc, student: StudentInfo, folder: Path, patience_s: float, progress: Progress | None
) -> None:
    """Fills ``folder`` with the files of ``student``. What is there and right is not fetched again.

    Raises:
        CorruptDownload: bytes differ from their hash twice in a row, or manifest and listing disagree, or the student
            is not signed by the key that the client was given.
    """
    if MANIFEST not in {file.path for file in student.files}:
        raise CorruptDownload(f"{student.name} has no {MANIFEST}, so nothing could be verified; it is not downloaded.")
    manifest_sha256 = next(file.sha256 for file in student.files if file.path == MANIFEST)
    if rpc.public_key is not None:
        check(student.signature, student.name, manifest_sha256, rpc.public_key)
    total = sum(file.size_bytes for file in student.files)
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[tuple[Path, Path]] = []
    done = 0
    # The manifest comes last: a folder that has it has everything.
    for file in sorted(student.files, key=lambda file: file.path == MANIFEST):
        target = folder / local_path(file.path)
        if not await in_thread(_is_right, target, file):
            # The hash is in the name, so that the rest of another student's download is never taken up.
            part = target.with_name(f".{target.name}.{file.sha256[:16]}.part")
            part.parent.mkdir(parents=True, exist_ok=True)
            await _fetch(rpc, student, file, part, patience_s, partial(_tell, progress, done, total))
            parts.append((part, target))
        done += file.size_bytes
        _tell(progress, done, total, 0)
    _check_manifest(student, {target: part for part, target in parts}, folder)
    # Before its manifest: one beside another manifest is refused.
    (folder / SIGNATURE).unlink(missing_ok=True)
    for part, target in parts:
        part.replace(target)
    if student.signature is not None:
        write_signature(folder, student.name, manifest_sha256, student.signature)


async def _fetch(
    rpc: AsyncRpc, student: StudentInfo, file: BundleFile, part: Path, patience_s: float, got: Callable[[int], None]
) -> None:
    resumed = part.exists()
    await _receive(rpc, student, file, part, patience_s, got)
    if resumed and not await in_thread(_is_right, part, file):
        # The old half may have been the wrong one; once more from the start.
        part.unlink()
        await _receive(rpc, student, file, part, patience_s, got)
    if not await in_thread(_is_right, part, file):
        size, sha256 = part.stat().st_size, await in_thread(sha256_of, part)
        part.unlink()
        raise CorruptDownload(
            f"{file.path} of {student.name} arrived as {size} bytes with SHA-256 {sha256}, where {file.size_bytes} "
            f"bytes with {file.sha256} were published. It was thrown away; try again. If that fails, the server's copy "
            "is damaged."
        )


async def _receive(
    rpc: AsyncRpc, student: StudentInfo, file: BundleFile, part: Path, patience_s: float, got: Callable[[int], None]
) -> None:
    patience = AsyncPatience(patience_s)
    with part.open("ab") as handle:
        if handle.tell() > file.size_bytes:
            handle.seek(handle.truncate(0))
        while handle.tell() < file.size_bytes:
            before = handle.tell()
            request = pb.ReadBundleRequest(name=student.name, path=file.path, read_offset=before)
            timeout_s = _STREAM_S + (file.size_bytes - before) / _SLOWEST_BYTES_S
            try:
                async with rpc.receive(rpc.students.ReadBundle, request, timeout_s=timeout_s) as answers:
                    async for answer in answers:
                        handle.write(answer.data)
                        got(handle.tell())
                        if handle.tell() > file.size_bytes:
                            break  # more than was announced: the hash will not fit
                if handle.tell() < file.size_bytes:
                    break  # the server says that this is all
            except KdaifClientError as error:
                if not was_cut(error):
                    raise
                if handle.tell() > before:
                    patience.progress()
                await patience.pause(error)
        handle.flush()
        await in_thread(os.fsync, handle.fileno())


def _is_right(path: Path, file: BundleFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes and sha256_of(path) == file.sha256


def _check_manifest(student: StudentInfo, parts: dict[Path, Path], folder: Path) -> None:
    """The manifest travels with the bundle and the listing does not; they must say the same."""
    target = folder / MANIFEST
    manifest = read_manifest(parts.get(target, target).read_bytes(), f"{MANIFEST} of {student.name}")
    listed = {file.path: (file.size_bytes, file.sha256) for file in student.files if file.path != MANIFEST}
    told = {path: (entry["size_bytes"], entry["sha256"]) for path, entry in manifest["files"].items()}
    if listed != told:
        names = sorted(path for path in listed.keys() | told.keys() if listed.get(path) != told.get(path))
        raise CorruptDownload(
            f"{MANIFEST} and the listing of {student.name} disagree on {', '.join(names)}; nothing was put in place."
        )


def _tell(progress: Progress | None, done: int, total: int, got: int) -> None:
    if progress is not None:
        progress(done + got, total)

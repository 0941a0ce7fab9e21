"""Upload and download beside raw ``grpc.aio`` streams of the same bytes and a plain copy: ``make bench-upload``.

All sides read, hash and write the same files on the same disk, with the same chunk, one after another in each of
several repeats. The raw server is 40 lines without names, offsets, quotas or records: it appends what comes, hashes it,
syncs and renames. The student that is downloaded is a real one, made so wide that its file has about 100 MB.

    python -m benchmarks.transfer [--mib 256] [--repeats 5]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from kdaif_client import Client, Job, Mlp, TrainedTeacher, Training
from kdaif_client._upload import CHUNK_BYTES

from benchmarks.record import write_results
from examples.local_stack import local_stack

_COLUMNS, _CLASSES = 64, 4
_PARTS = {"labeled": 80, "validation": 80, "test": 80, "unlabeled": 160}
# 64 -> 4096 -> 4096 -> 2048 -> 4: 25 million parameters.
_WIDE = Mlp(hidden_sizes=(4096, 4096, 2048))
_JOB_S = 1800.0
_CALL_S = 600.0


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256, help="size of the uploaded file")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    started_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="kdaif-transfer-") as folder:
        figures = _measured(Path(folder), chosen.mib, chosen.repeats)
    for name, value in figures.items():
        print(f"{name:28} {value:,.3f}")
    print(f"\nWritten: {write_results('transfer', figures, [], started_at)}")


def _measured(folder: Path, mib: int, repeats: int) -> dict[str, float]:
    with local_stack(folder / "stack") as target, _raw_server(folder / "raw") as raw, Client(target) as kdaif:
        job = _job_with_a_wide_student(kdaif, folder)
        bundle = job.download_bundle(folder / "bundle")
        model, bundle_bytes = bundle / "model.onnx", sum(f.stat().st_size for f in bundle.rglob("*") if f.is_file())
        sha256, seconds = _sha256(model), dict[str, list[float]]()
        for repeat in range(repeats):
            # New bytes each time: known ones would not be sent.
            file = _table(folder / "sent.parquet", mib * 2**20 // (8 * _COLUMNS), seed=100 + repeat, labelled=False)
            got = folder / f"got-{repeat}"
            for name, work in (
                ("upload", partial(kdaif.upload_dataset, file, name="sent")),
                ("raw_upload", partial(raw.upload, file)),
                ("upload_copy", partial(_copy, file, folder / "copied")),
                ("download", partial(job.download_bundle, got)),
                ("raw_download", partial(raw.download, model, folder / "raw-got", sha256)),
                ("download_copy", partial(_copy, model, folder / "copied")),
            ):
                seconds.setdefault(name, []).append(_seconds(work))
            shutil.rmtree(got)
        sizes = {"upload": file.stat().st_size, "download": model.stat().st_size}
    speeds = {name: sizes[name.split("_")[-1]] / median(of) for name, of in seconds.items() if "copy" not in name}
    # The bundle holds some small files beside the model.
    speeds["download"] *= bundle_bytes / sizes["download"]
    return {
        "upload_ratio": speeds["upload"] / speeds["raw_upload"],
        "download_ratio": speeds["download"] / speeds["raw_download"],
        **{f"{name}_mb_per_s": speed / 1e6 for name, speed in speeds.items()},
        "upload_copy_mb_per_s": sizes["upload"] / median(seconds["upload_copy"]) / 1e6,
        "download_copy_mb_per_s": sizes["download"] / median(seconds["download_copy"]) / 1e6,
        "uploaded_mb": sizes["upload"] / 1e6,
        "downloaded_mb": bundle_bytes / 1e6,
    }


def _seconds(work: Callable[[], Any]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _table(file: Path, rows: int, *, seed: int, labelled: bool) -> Path:
    generator = np.random.default_rng(seed)
    columns: dict[str, Any] = {"id": np.arange(rows) + seed * 10**9}
    columns |= {f"x{place:02}": generator.standard_normal(rows) for place in range(_COLUMNS)}
    if labelled:
        columns["label"] = [f"class {code}" for code in generator.integers(0, _CLASSES, rows)]
    pq.write_table(pa.table(columns), file, compression="none", use_dictionary=False)
    _sync(file)  # or the first to sync anything waits for these bytes
    return file


def _job_with_a_wide_student(kdaif: Client, folder: Path) -> Job:
    given = {
        name: kdaif.upload_dataset(
            _table(folder / f"{name}.parquet", rows, seed=seed, labelled=name != "unlabeled"), name=name
        )
        for seed, (name, rows) in enumerate(_PARTS.items())
    }
    return kdaif.submit(
        labeled=given["labeled"],
        unlabeled=given["unlabeled"],
        validation=given["validation"],
        test=given["test"],
        teacher=TrainedTeacher(architecture=Mlp(hidden_sizes=(16,)), epochs=1),
        student=_WIDE,
        training=Training(rounds=1, epochs_per_round=1, seeds=1),
        control_arms=("uniform",),
    ).wait(timeout_s=_JOB_S)


def _copy(file: Path, copied: Path) -> None:
    """What it costs without a network: hashed at the source, copied, synced, hashed at the goal."""
    _sha256(file)
    shutil.copyfile(file, copied)
    _sync(copied)
    _sha256(copied)


def _sync(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@dataclass(frozen=True)
class _Raw:
    """The client of the raw server; it hashes before it sends and after it receives, as the SDK does."""

    channel: grpc.Channel

    def upload(self, file: Path) -> None:
        def chunks() -> Iterator[bytes]:
            with file.open("rb") as handle:
                while chunk := handle.read(CHUNK_BYTES):
                    yield chunk

        digest = _sha256(file)
        call: Any = self.channel.stream_unary("/raw/Upload")
        answer = call(chunks(), timeout=_CALL_S)
        if answer.decode() != digest:
            raise SystemExit("the raw upload arrived changed")

    def download(self, source: Path, target: Path, sha256: str) -> None:
        call: Any = self.channel.unary_stream("/raw/Download")
        with target.open("wb") as handle:
            for chunk in call(str(source).encode(), timeout=_CALL_S):
                handle.write(chunk)
            handle.flush()
            os.fsync(handle.fileno())
        if _sha256(target) != sha256:
            raise SystemExit("the raw download arrived changed")


@contextmanager
def _raw_server(folder: Path) -> Iterator[_Raw]:
    folder.mkdir()
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, folder), daemon=True)
    process.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{here.recv()}") as channel:
            yield _Raw(channel)
    finally:
        process.terminate()
        process.join()


def _serve(ready: Connection, folder: Path) -> None:
    async def serve() -> None:
        server = grpc.aio.server()
        methods: dict[str, Any] = {
            "Upload": grpc.stream_unary_rpc_method_handler(_uploaded(folder)),
            "Download": grpc.unary_stream_rpc_method_handler(_downloaded),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("raw", methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        ready.send(port)
        await server.wait_for_termination()

    asyncio.run(serve())


def _uploaded(folder: Path) -> Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]:
    async def upload(chunks: AsyncIterator[bytes], context: Any) -> bytes:
        digest, part = hashlib.sha256(), folder / "part"

        def take(chunk: bytes) -> None:
            handle.write(chunk)
            digest.update(chunk)

        with part.open("wb", buffering=0) as handle:
            async for chunk in chunks:
                await asyncio.to_thread(take, chunk)
            await asyncio.to_thread(os.fsync, handle.fileno())
        part.rename(folder / digest.hexdigest())
        (folder / digest.hexdigest()).unlink()
        return digest.hexdigest().encode()

    return upload


async def _downloaded(source: bytes, context: Any) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(Path(source.decode()).open, "rb", buffering=0) as handle:
        while chunk := await asyncio.to_thread(handle.read, CHUNK_BYTES):
            yield chunk


if __name__ == "__main__":
    main()

"""Memory of the server and of the worker on a job larger than memory, by the whole stack: ``make bench-large``.

Writes R rows of 64 float32 features, uploads them, and distils for one round of one epoch. Server and training child
may hold 1 GB (10^9 bytes) each, plus the model; the highest that each came to is what the kernel kept (VmHWM), which
counts the pages of mapped files and libraries too. What of it was the process's own (RssAnon, looked at ten times a
second) is told beside it: the kernel cannot drop that. Rows are made in runs, so this program is small too.

    python -m benchmarks.large [--rows 10000000] [--folder FOLDER]

``FOLDER`` has to have room for some 15 times the rows: at 10 million, 40 GB.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from kdaif_client import Client, Mlp, TrainedTeacher, Training

from benchmarks.record import write_results
from examples.local_stack import local_stack

FEATURES, CLASSES = 64, 10
_PARTS = {"labeled": 5000, "validation": 2000, "test": 5000}
_RUN_ROWS = 65_536
_SAMPLED_S = 0.1
_MOST_S = 12 * 3600.0


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    started_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="kdaif-large-", dir=arguments.folder) as folder:
        figures = measured(arguments.rows, Path(folder))
    file = write_results("large", figures, [], started_at)
    print(json.dumps(figures, indent=1))
    print(f"written to {file}")


def measured(rows: int, folder: Path) -> dict[str, float]:
    """One job of so many unlabelled rows, from an empty folder."""
    pool = write_rows(folder / "pool.parquet", rows, seed=0, labelled=False)
    parts = write_labelled(folder, _PARTS)
    with local_stack(folder / "stack") as target, Client(target) as kdaif:
        server = psutil.Process(int(json.loads((folder / "stack" / "ready.json").read_text())["pid"]))
        with watched(server) as peaks:
            idle_cpu_s = sum(server.cpu_times()[:2])
            started = time.monotonic()
            unlabeled = kdaif.upload_dataset(pool, name="pool")
            upload_s = time.monotonic() - started
            upload_cpu_s = sum(server.cpu_times()[:2])
            pool.unlink()
            given = {name: kdaif.upload_dataset(file, name=name) for name, file in parts.items()}
            job = kdaif.submit(
                unlabeled=unlabeled,
                labeled=given["labeled"],
                validation=given["validation"],
                test=given["test"],
                teacher=TrainedTeacher(architecture=Mlp(hidden_sizes=(64,)), epochs=20),
                student=Mlp(hidden_sizes=(64,)),
                training=Training(rounds=1, epochs_per_round=1, batch_size=4096, seeds=1),
                control_arms=("uniform",),
            )
            result = job.wait(timeout_s=_MOST_S).result
            seconds = time.monotonic() - started
    return {
        "rows": rows,
        "features": FEATURES,
        "server_peak_mb": round(peaks["server"].resident_mb, 1),
        "server_peak_anonymous_mb": round(peaks["server"].anonymous_mb, 1),
        "worker_peak_mb": round(peaks["child"].resident_mb, 1),
        "worker_peak_anonymous_mb": round(peaks["child"].anonymous_mb, 1),
        "supervisor_peak_mb": round(peaks["supervisor"].resident_mb, 1),
        "valkey_peak_mb": round(peaks["valkey"].resident_mb, 1),
        "upload_s": round(upload_s, 1),
        "upload_cpu_s": round(upload_cpu_s - idle_cpu_s, 2),
        "attempt_cpu_s": round(peaks["child"].cpu_s, 2),
        "attempt_s": round(result.seconds, 1),
        "seconds": round(seconds, 1),
    }


def write_labelled(folder: Path, parts: Mapping[str, int]) -> dict[str, Path]:
    """A file with so many labelled rows for each of the parts, by its name."""
    return {
        name: write_rows(folder / f"{name}.parquet", count, seed=1 + seed, labelled=True)
        for seed, (name, count) in enumerate(parts.items())
    }


def write_rows(file: Path, rows: int, *, seed: int, labelled: bool) -> Path:
    """Rows around a centre for each class, the classes overlapping; ids count up."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(CLASSES, FEATURES)).astype(np.float32) / 3
    schema = pa.schema([("id", pa.int64()), ("features", pa.list_(pa.float32(), FEATURES))])
    if labelled:
        schema = schema.append(pa.field("label", pa.string()))
    names = np.array([f"class {code}" for code in range(CLASSES)])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, rows, _RUN_ROWS):
            count = min(_RUN_ROWS, rows - start)
            codes = generator.integers(0, CLASSES, count)
            values = centres[codes] + generator.standard_normal((count, FEATURES), np.float32)
            columns: list[Any] = [
                pa.array(np.arange(start, start + count) + seed * 10**10),
                pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), FEATURES),
            ]
            writer.write_batch(
                pa.RecordBatch.from_arrays([*columns, *([pa.array(names[codes])] if labelled else [])], schema=schema)
            )
    return file


@dataclass(frozen=True)
class Peak:
    """The most that a process held, in MB of a million bytes: of everything, and of memory without a file behind it.

    ``cpu_s`` are its seconds of processor as of the last look at it.
    """

    resident_mb: float = 0.0
    anonymous_mb: float = 0.0
    cpu_s: float = 0.0

    def with_one_more(self, other: Peak) -> Peak:
        """The higher of each."""
        return Peak(
            max(self.resident_mb, other.resident_mb),
            max(self.anonymous_mb, other.anonymous_mb),
            max(self.cpu_s, other.cpu_s),
        )


@contextmanager
def watched(server: psutil.Process) -> Iterator[dict[str, Peak]]:
    """The highest of the server, its worker, that one's children, and Valkey."""
    peaks = {role: Peak() for role in ("server", "supervisor", "child", "valkey")}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLED_S):
            for process in [server, *_children(server)]:
                role = _role(process, server)
                if role is not None:
                    peaks[role] = peaks[role].with_one_more(_held(process))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()


def _children(server: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = server.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found


def _role(process: psutil.Process, server: psutil.Process) -> str | None:
    if process == server:
        return "server"
    try:
        command = process.cmdline()
    except psutil.Error:
        return None
    if "kdaif_worker.child" in command:
        return "child"
    if "kdaif_worker" in command:
        return "supervisor"
    return "valkey" if command and "valkey" in command[0] else None


def _held(process: psutil.Process) -> Peak:
    """Nothing once the process is gone."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        used = process.cpu_times()
    except (OSError, psutil.Error):
        return Peak()
    kibibytes = {
        name: int(value.split()[0])
        for name, _, value in (line.partition(":") for line in lines)
        if "Rss" in name or name == "VmHWM"
    }
    return Peak(
        kibibytes.get("VmHWM", 0) * 1024 / 1e6, kibibytes.get("RssAnon", 0) * 1024 / 1e6, used.user + used.system
    )


if __name__ == "__main__":
    main()

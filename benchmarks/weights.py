"""``python -m benchmarks.weights``: weights queried through the service, beside DuckDB and pyarrow on the same files.

A job of ROWS samples and ROUNDS rounds is laid into a blob store as a worker would have left it; then a server process
answers. Ids, filters and pages are drawn anew for each call.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from kdaif_client import Client
from kdaif_client._job import Job
from kdaif_client.errors import KdaifClientError
from kdaif_server.embedded.valkey import EmbeddedValkey

from benchmarks.record import commit, machine, write_results
from kdaif.queue import JobQueue
from kdaif.records import AttemptManifest, DistillationSpec, JobResult, PreflightReport, WeightsShard, WorkerOffer
from kdaif.records.weights_table import ROW_GROUP_ROWS, weights_schema
from kdaif.store import BlobStore, layout

_NAMES = pa.array([f"class {code}" for code in range(10)])
_SEXES = pa.array(["F", "M"])
_STEP = 7  # ids are 0, 7, 14, ...
_WRITTEN_ROWS = 2**20
_CALLS = 30
_LINES = (
    ("batch_get_100_ms_p50", "100 ids, ms", 1, "< 50"),
    ("page_1000_ms_p50", "page of 1,000 by id, ms", 1, "< 50"),
    ("page_1000_by_weight_ms_p50", "page of 1,000 by weight, ms", 1, ""),
    ("history_of_10_ms_p50", "10 samples over all rounds, ms", 1, ""),
    ("filtered_page_ms_p50", "first page under a new filter, ms", 0, ""),
    ("duckdb_page_ms_p50", "the same page by DuckDB, ms", 0, ""),
    ("query_ratio_to_duckdb", "`query_ratio_to_duckdb`, its time over ours", 2, ""),
    ("stream_s", "a whole round as Arrow, s", 1, ""),
    ("pyarrow_s", "the same file by pyarrow, s", 1, ""),
    ("stream_ratio_to_pyarrow", "`stream_ratio_to_pyarrow`, its time over ours", 2, ""),
    ("first_touch_of_a_round_ms", "first look-up of a round, ms", 0, ""),
    ("server_rss_mb", "server, resident, MB", 0, ""),
    ("server_rss_growth_mb", "growth of that over all of it, MB", 0, "flat"),
)
_WARM_UP = 3


def main() -> None:
    """Runs, prints and writes the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.weights", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--dir", type=Path, help="where the files go; 600 MB a round for 10 million rows")
    parser.add_argument("--page", type=Path, help="where to write the page")
    arguments = parser.parse_args()
    started_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="kdaif-weights-", dir=arguments.dir) as folder:
        figures = measured(Path(folder), arguments.rows, arguments.rounds)
    for name, value in figures.items():
        print(f"{name:32} {value:,.3f}")
    print(f"\nWritten: {write_results('weights', figures, [], started_at)}")
    if arguments.page is not None:
        arguments.page.write_text(page(figures))


def page(figures: Mapping[str, float]) -> str:
    """The figures as a page of Markdown."""
    told = machine()
    rows = [f"| {said} | {figures[name]:,.{digits}f} | {wanted} |" for name, said, digits, wanted in _LINES]
    return "\n".join(
        (
            "# Weights: how fast they are looked up",
            "",
            f"Made by `make bench-weights` at commit `{commit()[:12]}` on {told['cores']} cores of {told['cpu']}:",
            f"a job of {figures['rows']:,.0f} samples and {figures['rounds']:.0f} rounds, through gRPC and the SDK,",
            "beside DuckDB and pyarrow on the same files. Ids, rounds, filters and pages are drawn anew for each call;",
            "times are medians.",
            "",
            "| figure | value | wanted |",
            "|---|---:|---|",
            *rows,
            "",
            "DuckDB and pyarrow read the files in the client's own process. A filter not seen before scans its round;",
            "later pages of the same listing are looked up.",
            "",
        )
    )


def measured(folder: Path, rows: int, rounds: int) -> dict[str, float]:
    """The figures of one run; times are medians in milliseconds."""
    shards = [_write_shard(folder / "made", rows, number) for number in range(1, rounds + 1)]
    with EmbeddedValkey(folder / "valkey") as valkey:
        name = asyncio.run(_lay_job(valkey.url, folder / "blobs", shards, rows))
        with _server(valkey.url, folder) as (process, client):
            job = client.get_job(name)
            files = [folder / "blobs" / shard.path for shard in shards]
            return {"rows": rows, "rounds": rounds} | _queries(job, files, rows, rounds, process)


def _queries(job: Job, files: list[Path], rows: int, rounds: int, process: psutil.Process) -> dict[str, float]:
    generator = np.random.default_rng(0)

    def ids(count: int) -> list[int]:
        return [int(row) * _STEP for row in generator.choice(rows, count, replace=False)]

    def bound() -> float:
        return float(generator.uniform(0.1, 0.4))

    def random_filter() -> str:
        return f'weight < {bound()} AND pseudo_label = "class {generator.integers(10)}" AND group_sex = "F"'

    def list_page(order_by: str, where: str) -> None:
        found = list(
            job.weights(order_by=order_by, limit=1000, filter=where, round=int(generator.integers(rounds)) + 1)
        )
        if len(found) != 1000:
            raise AssertionError(f"a page of {len(found)} rows")

    first_touch_ms = _once(lambda: list(job.weights(ids=ids(100))))
    for number in range(1, rounds + 1):
        list(job.weights(ids=ids(1), round=number))
    before_mb = process.memory_info().rss / 1e6
    figures = {
        "first_touch_of_a_round_ms": first_touch_ms,
        "batch_get_100_ms_p50": _median(
            lambda: list(job.weights(ids=ids(100), round=int(generator.integers(rounds)) + 1))
        ),
        "page_1000_ms_p50": _median(lambda: list_page("id", "")),
        "page_1000_by_weight_ms_p50": _median(lambda: list_page("weight desc", ""), calls=3 * rounds),
        "history_of_10_ms_p50": _median(lambda: job.weight_history(ids(10)), calls=10),
    }
    file = files[-1]
    ours = _median(lambda: list(job.weights(order_by="weight desc", limit=1000, filter=random_filter())), calls=10)
    theirs = _median(lambda: _duckdb_page(file, bound(), int(generator.integers(10))), calls=10)
    figures |= {"filtered_page_ms_p50": ours, "duckdb_page_ms_p50": theirs, "query_ratio_to_duckdb": theirs / ours}
    stream_s = _once(lambda: _drain(job.weights_batches())) / 1000
    pyarrow_s = _once(lambda: _drain(pq.ParquetFile(file).iter_batches(16_384))) / 1000
    figures |= {"stream_s": stream_s, "pyarrow_s": pyarrow_s, "stream_ratio_to_pyarrow": pyarrow_s / stream_s}
    after_mb = process.memory_info().rss / 1e6
    return figures | {"server_rss_mb": after_mb, "server_rss_growth_mb": after_mb - before_mb}


def _duckdb_page(file: Path, bound: float, code: int) -> None:
    with duckdb.connect() as connection:
        found = connection.sql(
            "SELECT * FROM read_parquet(?) WHERE weight < ? AND pseudo_label = ? AND group_sex = 'F' "
            "ORDER BY weight DESC, id LIMIT 1000",
            params=[str(file), bound, f"class {code}"],
        ).to_arrow_table()
    if found.num_rows != 1000:
        raise AssertionError(f"a page of {found.num_rows} rows")


def _drain(batches: Iterable[pa.RecordBatch]) -> None:
    for batch in batches:
        batch.column("weight").to_numpy()


def _once(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def _median(work: Callable[[], object], calls: int = _CALLS) -> float:
    return statistics.median([_once(work) for _ in range(calls + _WARM_UP)][_WARM_UP:])


def _write_shard(folder: Path, rows: int, number: int) -> WeightsShard:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(number)
    schema = weights_schema(pa.int64(), ("group_sex",))
    file = folder / f"round-{number}.parquet"
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, rows, _WRITTEN_ROWS):
            count = min(_WRITTEN_ROWS, rows - start)
            arrays = [_column(field, start, count, number, generator) for field in schema]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=ROW_GROUP_ROWS)
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return WeightsShard(number, layout.weights_shard("default", _JOB, 1, number), digest, rows)


def _column(field: pa.Field, start: int, count: int, number: int, generator: np.random.Generator) -> pa.Array:
    match field.name:
        case "id":
            return pa.array(np.arange(start, start + count) * _STEP)
        case "round":
            return pa.array(np.full(count, number, dtype=np.int32))
        case "pseudo_label" | "student_label":
            return _NAMES.take(pa.array(generator.integers(0, len(_NAMES), count)))
        case "group_sex":
            return _SEXES.take(pa.array(generator.integers(0, len(_SEXES), count)))
        case "truth" | "weight_override":
            return pa.nulls(count, field.type)
        case "weight":
            return pa.array(generator.gamma(2.0, 0.5, count).astype(np.float32))
        case _:
            return pa.array(generator.normal(size=count).astype(np.float32))


async def _lay_job(redis_url: str, blob_dir: Path, shards: list[WeightsShard], rows: int) -> str:
    """A job that ended, with its shards where the manifest says. They are moved, not copied."""
    queue = await JobQueue.connect(redis_url)
    try:
        spec = DistillationSpec(labeled="0" * 32, unlabeled="1" * 32)
        job = await queue.submit("default", spec, PreflightReport(), request_id="bench")
        claim = await queue.claim(WorkerOffer("bench"))
        if claim is None:
            raise AssertionError("the only job is there to claim")
        moved = []
        for shard in shards:
            path = layout.weights_shard("default", job.id, 1, shard.round)
            target = blob_dir / path
            target.parent.mkdir(parents=True, exist_ok=True)
            (blob_dir.parent / "made" / f"round-{shard.round}.parquet").rename(target)
            moved.append(WeightsShard(shard.round, path, shard.sha256, rows))
        shards[:] = moved
        manifest = AttemptManifest(job.id, 1, tuple(_NAMES.to_pylist()), (), tuple(moved), int(time.time() * 1000))
        blobs = BlobStore.open(f"file://{blob_dir}")
        blobs.put_bytes(layout.attempt_manifest("default", job.id, 1), manifest.to_json())
        await queue.succeed(claim, JobResult(attempt=1, arms=(), verdict="", seconds=0.0))
        return job.id
    finally:
        await queue.close()


@contextmanager
def _server(redis_url: str, folder: Path) -> Iterator[tuple[psutil.Process, Client]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "kdaif_server",
        "serve",
        "--authentication",
        "off",
        "--redis-url",
        redis_url,
        "--port",
        str(port),
    ]
    command += ["--data-dir", str(folder), "--store-url", f"file://{folder / 'blobs'}"]
    process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)
    try:
        with Client(f"127.0.0.1:{port}") as client:
            _wait_for(client)
            yield psutil.Process(process.pid), client
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(client: Client) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            list(client.list_jobs())
        except KdaifClientError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


_JOB = "bench"

if __name__ == "__main__":
    main()

"""A real server in a thread of this process, and jobs that are worked on by the test itself instead of a worker."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from kdaif_client import Client, Job
from kdaif_server.server import running_server
from kdaif_server.settings import ServerSettings

from kdaif.queue import JobQueue
from kdaif.records import AttemptManifest, JobResult, StoredFile, WeightsShard, WorkerOffer
from kdaif.records.weights_table import weights_schema
from kdaif.store import BlobStore, layout

T = TypeVar("T")
CLASSES = ("cat", "dog", "owl")


@contextlib.contextmanager
def serving(settings: ServerSettings) -> Iterator[str]:
    """The target of a running server. What it raises while it starts or stops is raised here."""
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    ports: list[int] = []
    failures: list[BaseException] = []

    async def serve() -> None:
        async with running_server(settings) as server:
            ports.append(server.port)
            started.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:
            failures.append(error)
        finally:
            loop.close()
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(60)
        if not failures:
            yield f"127.0.0.1:{ports[0]}"
    finally:
        if not failures:
            loop.call_soon_threadsafe(stop.set)
        thread.join()
    if failures:
        raise failures[0]


def with_queue(url: str, use: Callable[[JobQueue], Awaitable[T]], **options: float) -> T:
    async def run() -> T:
        queue = await JobQueue.connect(url, **options)  # type: ignore[arg-type]
        try:
            return await use(queue)
        finally:
            await queue.close()

    return asyncio.run(run())


def submit(client: Client, request_id: str | None = None, name: str = "") -> Job:
    """A job on small data; a name makes its data, and so its spec, another."""
    random = np.random.default_rng(len(name))
    features = random.normal(size=(120, 4)).astype(np.float32)
    labeled = client.upload_dataset({"features": features, "label": np.tile(CLASSES, 40)}, name="labeled")
    unlabeled = client.upload_dataset({"features": features[:60] + 1}, name="unlabeled")
    return client.submit(labeled, unlabeled, request_id=request_id, display_name=name)


def weights(rows: int) -> pa.Table:
    schema = weights_schema(pa.int64())
    numbers = np.arange(rows, dtype=np.float32)
    columns = {
        field.name: pa.array(numbers).cast(field.type)
        if pa.types.is_floating(field.type)
        else pa.array(np.arange(rows, dtype=np.int64)).cast(field.type)
        if pa.types.is_integer(field.type)
        else pa.DictionaryArray.from_arrays(np.zeros(rows, np.int8), CLASSES[:1]).cast(pa.string())
        for field in schema
    }
    return pa.table(columns, schema=schema)


def succeed_next(queue_url: str, blobs: BlobStore, bundle: dict[str, bytes], table: pa.Table, folder: Path) -> str:
    """Does a worker's work without the training: claims the next job, leaves a bundle and weights, and finishes it."""

    async def work(queue: JobQueue) -> str:
        claim = await queue.claim(WorkerOffer("test"))
        assert claim is not None
        tenant, job_id, attempt = claim.job.tenant, claim.job.id, claim.token
        for path, data in bundle.items():
            blobs.put_bytes(layout.bundle_file(tenant, job_id, attempt, path), data)
        file, shard = folder / f"{job_id}.parquet", layout.weights_shard(tenant, job_id, attempt, 1)
        pq.write_table(table, file)
        blobs.put_file(shard, file)
        blobs.put_bytes(layout.checkpoint(tenant, job_id, attempt, 1), b"checkpoint")
        manifest = AttemptManifest(
            job_id,
            attempt,
            CLASSES,
            tuple(StoredFile(path, hashlib.sha256(data).hexdigest(), len(data)) for path, data in bundle.items()),
            (WeightsShard(1, shard, hashlib.sha256(file.read_bytes()).hexdigest(), table.num_rows),),
            1,
        )
        blobs.put_bytes(layout.attempt_manifest(tenant, job_id, attempt), manifest.to_json())
        await queue.succeed(claim, JobResult(attempt, (), "no difference", float("nan")))
        return job_id

    return with_queue(queue_url, work)

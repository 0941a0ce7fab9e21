"""The dashboard over a real queue and a real store, asked in this process; jobs end as the test says."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
from kdaif_server.artifacts import Artifacts
from kdaif_server.backend import Backend
from kdaif_server.dashboard.app import make_app
from kdaif_server.weights.engine import Engine

from kdaif import datasets
from kdaif.queue import Claim, JobQueue
from kdaif.records import (
    ArmResult,
    AttemptManifest,
    DistillationSpec,
    Job,
    JobResult,
    PreflightReport,
    StoredFile,
    WeightsShard,
    WorkerOffer,
)
from kdaif.records.provenance import Provenance
from kdaif.store import BlobStore, DatasetStore, layout
from tests.server.weights.shards import write_shard

HOST = "127.0.0.1:8080"
ORIGIN = f"http://{HOST}"


@dataclass(frozen=True)
class Site:
    """What a test does with the dashboard."""

    http: httpx2.AsyncClient
    queue: JobQueue
    backend: Backend
    folder: Path

    async def submit(self, name: str = "job", rows: pa.Table | None = None, **spec: object) -> Job:
        """A queued job on these unlabelled rows."""
        unlabeled = "0" * 32 if rows is None else self._upload(rows)
        asked = DistillationSpec.model_validate({"labeled": "1" * 32, "unlabeled": unlabeled} | spec)
        return await self.queue.submit("default", asked, PreflightReport(), request_id="", display_name=name)

    async def claim(self) -> Claim:
        claim = await self.queue.claim(WorkerOffer("test"))
        assert claim is not None
        return claim

    async def succeed(
        self,
        ids: Sequence[str],
        weights: Sequence[float],
        *,
        classes: tuple[str, ...] = ("cat", "dog"),
        rounds: int = 2,
        report: Mapping[str, object] | None = None,
        evidence: pa.Table | None = None,
        pause: bool = False,
        made_by: Provenance | None = None,
    ) -> Job:
        """Does the work of the next job: the weights of its last round, and equal ones before. Or pauses with them."""
        claim = await self.claim()
        job, shards, count = claim.job, [], len(ids)
        for number in range(1, rounds + 1):
            columns = {
                "weight": list(weights) if number == rounds else [1.0] * count,
                "val_loss_change_if_upweighted": [0.1 * place for place in range(count)],
                "pseudo_label": [classes[0]] * count,
                "round": [number] * count,
            }
            folder = self.folder / job.id / str(number)
            file = write_shard(folder, ids, columns, groups=["group_site"], made_by=made_by).parquet
            path = layout.weights_shard(job.tenant, job.id, claim.token, number)
            self.backend.artifacts.blobs.put_file(path, file)
            shards.append(WeightsShard(number, path, hashlib.sha256(file.read_bytes()).hexdigest(), count))
        bundle = {
            "certificate.json": b'{"passed": true, "rows": 9, "edge_rows": 1, "parity": []}',
            "report.json": json.dumps(report or {}).encode(),
        }
        for name, data in bundle.items():
            self.backend.artifacts.blobs.put_bytes(layout.bundle_file(job.tenant, job.id, claim.token, name), data)
        files = tuple(StoredFile(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in bundle.items())
        explained = None
        if evidence is not None:
            file, path = self.folder / f"{job.id}-evidence.parquet", layout.evidence(job.tenant, job.id, claim.token)
            pq.write_table(evidence, file)
            self.backend.artifacts.blobs.put_file(path, file)
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
            explained = WeightsShard(rounds, path, sha256, evidence.num_rows)
        manifest = AttemptManifest(job.id, claim.token, classes, () if pause else files, tuple(shards), 1, explained)
        if pause:
            path = layout.review_manifest(job.tenant, job.id, claim.token)
            self.backend.artifacts.blobs.put_bytes(path, manifest.to_json())
            return await self.queue.await_review(claim, "group F fell under its floor")
        self.backend.artifacts.blobs.put_bytes(
            layout.attempt_manifest(job.tenant, job.id, claim.token), manifest.to_json()
        )
        arms = (
            ArmResult("influence", 0.9, 0.89, (0.9,), accuracy_minus_uniform=0.05, p_value=0.01, size_kb=20.0),
            ArmResult("uniform", 0.85, 0.84, (0.85,)),
        )
        result = JobResult(claim.token, arms, "Weighting helped: 90 % against 85 %", 3.0, shipped_arm="influence")
        return await self.queue.succeed(claim, result)

    async def page(self, path: str, status: int = 200) -> str:
        answer = await self.http.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    async def send(self, page: str, action: str, **fields: str) -> httpx2.Response:
        """Sends the form to ``action`` that is on the page."""
        form = re.search(rf'action="{re.escape(action)}".*?name="csrf" value="([0-9a-f]+)"', page, re.DOTALL)
        assert form is not None, page
        return await self.http.post(action, data={"csrf": form[1]} | fields, headers={"origin": ORIGIN})

    def _upload(self, rows: pa.Table) -> str:
        file = self.folder / f"{hash(str(rows))}.parquet"
        pq.write_table(rows, file)
        data = file.read_bytes()
        dataset, _ = self.backend.datasets.create("default", "pool", hashlib.sha256(data).hexdigest(), len(data))
        writer = self.backend.datasets.open_writer("default", dataset.id, 0)
        writer.write(data)
        writer.commit()
        writer.close()
        return self.backend.datasets.finish("default", dataset.id).id


def visit(valkey_url: str, folder: Path, use: Callable[[Site], Awaitable[None]]) -> None:
    """Runs ``use`` on a site of its own."""

    async def run() -> None:
        queue = await JobQueue.connect(valkey_url)
        blobs = BlobStore.open(f"file://{folder / 'blobs'}")
        backend = Backend(
            queue=queue,
            datasets=DatasetStore(blobs, folder / "spool", datasets.inspect),
            artifacts=Artifacts(queue, blobs, folder / "cache"),
            engine=Engine(folder / "spill"),
            cache_dir=folder / "cache",
            stopping=asyncio.Event(),
        )
        transport = httpx2.ASGITransport(app=make_app(backend), raise_app_exceptions=False)
        try:
            async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as http:
                await use(Site(http, queue, backend, folder))
        finally:
            backend.engine.close()
            await queue.close()

    asyncio.run(run())

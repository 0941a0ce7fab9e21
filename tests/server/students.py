"""Students without training: jobs that the test itself finishes, with a bundle and what they say of test rows."""

from __future__ import annotations

import asyncio
import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from kdaif.queue import JobQueue
from kdaif.records import AttemptManifest, DistillationSpec, JobResult, PreflightReport, StoredFile, WorkerOffer
from kdaif.records.predictions import RowPredictions, row_hashes
from kdaif.store import BlobStore, layout
from tests.server.serving import with_queue

CLASSES = ("cat", "dog")
SPEC = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32)


def add_student(queue_url: str, blobs: BlobStore, wrong: NDArray[np.bool_] | None = None, **options: object) -> str:
    """The id of a new student that is wrong on these test rows; None for one whose worker kept no predictions."""
    return with_queue(queue_url, lambda queue: make_student(queue, blobs, wrong, **options))


async def make_student(
    queue: JobQueue,
    blobs: BlobStore,
    wrong: NDArray[np.bool_] | None = None,
    *,
    tenant: str = "default",
    names: tuple[str, ...] = CLASSES,
    first_row: int = 0,
    flip_labels: bool = False,
) -> str:
    await queue.submit(tenant, SPEC, PreflightReport(), request_id="")
    claim = await queue.claim(WorkerOffer("test"))
    assert claim is not None
    job, attempt = claim.job.id, claim.token
    await asyncio.to_thread(_write, blobs, tenant, job, attempt)
    if wrong is not None:
        rows = np.arange(first_row, first_row + len(wrong))
        label_names = np.array(CLASSES)[(rows + flip_labels) % 2]
        labels = np.array([names.index(name) for name in label_names], dtype=np.int32)
        shuffled = np.random.default_rng(len(job)).permutation(len(rows))
        predicted = np.where(wrong, 1 - labels, labels).astype(np.int32)
        found = RowPredictions(row_hashes(rows[shuffled]), labels[shuffled], predicted[shuffled], names)
        blobs.put_bytes(layout.test_predictions(tenant, job, attempt), found.to_parquet())
    await queue.succeed(claim, JobResult(attempt, (), "no difference", 1.0))
    return job


def _write(blobs: BlobStore, tenant: str, job: str, attempt: int) -> None:
    files = {"model.onnx": f"model of {job}".encode() * 1000}
    listed = {
        path: {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)} for path, data in files.items()
    }
    manifest = {
        "format_version": 1,
        "class_names": list(CLASSES),
        "outputs": ["logits"],
        "input": {"name": "input", "kind": "numeric", "shape": ["batch", 3]},
        "files": listed,
    }
    files["manifest.json"] = json.dumps(manifest).encode()
    for path, data in files.items():
        blobs.put_bytes(layout.bundle_file(tenant, job, attempt, path), data)
    stored = tuple(StoredFile(path, hashlib.sha256(data).hexdigest(), len(data)) for path, data in files.items())
    left = AttemptManifest(job, attempt, CLASSES, stored, (), 1)
    blobs.put_bytes(layout.attempt_manifest(tenant, job, attempt), left.to_json())

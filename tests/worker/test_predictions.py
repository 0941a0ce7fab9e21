from __future__ import annotations

from pathlib import Path

import numpy as np
from kdaif_server.gate import read_predictions
from kdaif_worker.messages import Assignment
from kdaif_worker.predictions import publish_predictions

from kdaif.datasets import Rows
from kdaif.records import DistillationSpec, Job, JobResult, JobState, PreflightReport
from kdaif.records.predictions import row_hashes
from kdaif.store import BlobStore


def test_what_the_worker_keeps_is_what_the_gate_reads(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32)
    assignment = Assignment(
        tenant="acme",
        job_id="j1",
        attempt=2,
        display_name="",
        spec=spec,
        blob_url=f"file://{tmp_path}",
        cache_dir=tmp_path,
        threads=1,
    )
    test = Rows(
        ids=np.array(["x", "y", "z"], dtype=object),
        features=np.zeros((3, 1), np.float32),
        labels=np.array([0, 1, 1]),
        groups={"group_sex": np.array(["F", None, "M"], dtype=object)},
    )
    logits = np.array([[2.0, 1.0], [0.5, 0.1], [0.0, 3.0]], dtype=np.float32)
    publish_predictions(assignment, test, logits, ("cat", "dog"), blobs)
    job = Job("acme", "j1", JobState.SUCCEEDED, spec, PreflightReport(), 0, result=JobResult(2, (), "", 1.0))
    found = read_predictions(blobs, "acme", job)
    assert found is not None
    assert found.right.tolist() == [True, False, True]
    assert (found.rows == row_hashes(["x", "y", "z"])).all()
    assert (found.class_names, list(found.groups)) == (("cat", "dog"), ["group_sex"])

"""A job's run in MLflow, in MLflow's own store of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kdaif_client import Client, Training

from tests.e2e.conftest import Stack

_READS = """
import json, sys
from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
run = client.get_run(sys.argv[2])
curve = client.get_metric_history(sys.argv[2], "influence/seed_1/train_loss")
print(json.dumps({
    "params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags, "status": run.info.status,
    "steps": [point.step for point in curve],
    "files": [each.path for each in client.list_artifacts(sys.argv[2], "student")],
}))
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_job_becomes_one_run(stack: Stack, client: Client, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(240, 4)).astype(np.float32)
    labeled = client.upload_dataset(
        {"features": features, "label": np.where(features[:, 0] > 0, "cat", "dog")}, name="l"
    )
    unlabeled = client.upload_dataset({"features": features[:120] + 0.01}, name="u")
    training = Training(rounds=2, epochs_per_round=1, seeds=1)
    job = client.submit(labeled, unlabeled, training=training, display_name="nightly")
    store = f"file://{tmp_path / 'runs'}"

    def export() -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-c",
            "from kdaif_client.cli import main; main()",
            "export-mlflow",
            job.name,
            "--json",
        ]
        return _run([*command, "--tracking-uri", store, "--target", stack.target])

    job.wait(timeout_s=120)
    first, again = export(), export()
    assert first.returncode == 0, first.stderr
    run_id = json.loads(first.stdout)["run_id"]
    assert json.loads(again.stdout)["run_id"] == run_id
    read = _run([sys.executable, "-c", _READS, store, run_id])
    assert read.returncode == 0, read.stderr
    run: dict[str, Any] = json.loads(read.stdout)
    assert run["status"] == "FINISHED"
    assert run["tags"]["kdaif.job"] == job.name
    assert run["params"]["training.rounds"] == "2"
    arms = {arm.arm: arm.accuracy for arm in job.result.arms}
    assert {name: run["metrics"][f"test/{name}/accuracy"] for name in arms} == pytest.approx(arms)
    assert run["steps"] == [1, 2]
    bundle = job.download_bundle(tmp_path / "bundle")
    assert set(run["files"]) == {f"student/{file.name}" for file in bundle.iterdir()}


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)

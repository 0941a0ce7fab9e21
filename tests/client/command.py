"""The command ``kdaif``, as tests call it, and a job for it to show."""

from __future__ import annotations

import json
from typing import Any

from kdaif_client import cli
from kdaif_proto.v1 import jobs_pb2 as jb
from typer.testing import CliRunner, Result

from tests.client.conftest import CLASSES, Bundle
from tests.client.small_server import SmallServer
from tests.client.small_state import PARENT


def kdaif(server: SmallServer, *arguments: str) -> Result:
    return CliRunner().invoke(cli.app, [*arguments], env={"KDAIF_TARGET": server.target, "COLUMNS": "120"})


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def succeeded(server: SmallServer, bundle: Bundle | None = None) -> str:
    job = server.state.add_job("j1", jb.JOB_STATE_RUNNING)
    job.spec.labeled, job.spec.unlabeled = f"{PARENT}/datasets/l", f"{PARENT}/datasets/u"
    job.display_name = "nightly"
    job.result.verdict = "Weighting helped by 2.0 points (p = 0.01)."
    job.result.arms.append(jb.ArmResult(arm="uniform", accuracy=0.9, macro_f1=0.89, size_kb=12.5, ms_per_row=0.02))
    job.result.arms.append(jb.ArmResult(arm="influence", accuracy=0.92, accuracy_minus_uniform=0.02, p_value=0.01))
    job.result.shipped_arm, job.result.canary = "influence", "The canary check passed."
    if bundle is not None:
        job.result.student = server.state.add_student("j1", bundle.files, CLASSES)
    server.state.tell(job.name, "claimed", jb.JOB_STATE_RUNNING, metrics={"train_loss": float("nan")})
    server.state.tell(job.name, "finished", jb.JOB_STATE_SUCCEEDED)
    return "j1"

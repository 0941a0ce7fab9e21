"""A job that succeeded, as a run of MLflow: what was asked, the curves, the comparison, and the student's files."""

from __future__ import annotations

import dataclasses
import math
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdaif_client._convert_spec import spec_to_json
from kdaif_client._job import Job
from kdaif_client.errors import FailedPrecondition, MissingDependency
from kdaif_client.types import JobState

_LONGEST_PARAM = 500
_OF_ARM = ("accuracy", "macro_f1", "accuracy_minus_uniform", "p_value", "size_kb", "ms_per_row", "ece")


def export(job: Job, tracking_uri: str | None, experiment: str) -> str:
    """Writes the run, once per job: a job that the experiment has already is not written again.

    Args:
        job: that succeeded.
        tracking_uri: of the MLflow server; None for what ``MLFLOW_TRACKING_URI`` says.
        experiment: made where it is not there.

    Returns:
        The id of the run.

    Raises:
        MissingDependency: MLflow is not installed.
        FailedPrecondition: the job did not succeed.
    """
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise MissingDependency(f"MLflow is not installed ({error}): pip install 'kdaif-client[mlflow]'") from error
    job.refresh()
    info, result = job.info, job.info.result
    if info.state is not JobState.SUCCEEDED or result is None:
        raise FailedPrecondition(f"{job.name} is {info.state}; only a job that SUCCEEDED has something to export")
    mlflow: Any = MlflowClient(tracking_uri=tracking_uri)
    found = mlflow.get_experiment_by_name(experiment)
    experiment_id = mlflow.create_experiment(experiment) if found is None else found.experiment_id
    for run in mlflow.search_runs(
        [experiment_id], f"tags.`kdaif.job` = '{job.name}' and attributes.status = 'FINISHED'"
    ):
        return str(run.info.run_id)
    tags = {"kdaif.job": job.name, "kdaif.shipped_arm": result.shipped_arm, "kdaif.verdict": result.verdict}
    run_id: str = mlflow.create_run(experiment_id, tags=tags, run_name=info.display_name or None).info.run_id
    for name, value in _params(spec_to_json(info.spec)):
        mlflow.log_param(run_id, name, value)
    for name, figure, step in (*_curves(job), *_results(job)):
        if math.isfinite(figure):
            mlflow.log_metric(run_id, name, figure, step=step)
    with tempfile.TemporaryDirectory(prefix="kdaif-mlflow-") as folder:
        mlflow.log_artifacts(run_id, str(job.download_bundle(Path(folder) / "student")), "student")
    mlflow.set_terminated(run_id)
    return run_id


def _params(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The spec's fields by their path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _params(inner, f"{name}.{key}" if name else str(key))
    elif value is not None:
        yield name, str(value)[:_LONGEST_PARAM]


def _curves(job: Job) -> Iterator[tuple[str, float, int]]:
    """Each round's figures as ``arm/seed_1/figure``."""
    for event in job.watch():
        if event.kind == "round" and event.progress is not None:
            seed = re.match(r"seed (\d+) of", event.progress.message)
            prefix = f"{event.progress.arm}/seed_{seed[1] if seed else 1}"
            for name, figure in event.metrics.items():
                yield f"{prefix}/{name}", figure, event.progress.round


def _results(job: Job) -> Iterator[tuple[str, float, int]]:
    """The comparison as ``test/arm/figure``, and what the job took."""
    result = job.info.result
    if result is None:
        return
    for part, arms in (("test", result.arms), ("external", result.external_arms)):
        for arm in map(dataclasses.asdict, arms):
            for name in _OF_ARM:
                if arm[name] is not None:
                    yield f"{part}/{arm['arm']}/{name}", arm[name], 0
    yield "seconds", result.seconds, 0
    if result.canary_auroc is not None:
        yield "canary_auroc", result.canary_auroc, 0

"""The command that hands a job to another program."""

from __future__ import annotations

from typing import Annotated

import typer

from kdaif_client import _mlflow
from kdaif_client._cli_session import DEFAULT_TARGET, AsJson, JobArgument, Target, Tenant, connection, print_json


def export_mlflow(
    job: JobArgument,
    tracking_uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="Of the MLflow server, such as http://mlflow:5000.")
    ] = None,
    experiment: Annotated[str, typer.Option(help="Created if it does not exist.")] = "kdaif",
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    r"""Write a job that succeeded into MLflow: spec, curves, comparison, student. Needs kdaif-client\[mlflow]."""
    with connection(target, tenant) as client:
        run_id = _mlflow.export(client.get_job(job), tracking_uri, experiment)
    print_json({"run_id": run_id}) if as_json else typer.echo(f"run {run_id} in experiment {experiment}")

"""The ``kdaif`` command."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import typer

from kdaif_client import _cli_actions as actions
from kdaif_client import _cli_options as options
from kdaif_client import _cli_tables as tables
from kdaif_client._cli_audit import audit
from kdaif_client._cli_export import export_mlflow
from kdaif_client._cli_group import CommandGroup
from kdaif_client._cli_rollout import LineOption, alias_folder, pull_by_alias, rollout_commands
from kdaif_client._cli_session import (
    DEFAULT_TARGET,
    AsJson,
    JobArgument,
    Target,
    Tenant,
    bars_shown,
    complain,
    connection,
    exit_codes,
    note,
    print_json,
    show_credentials,
)
from kdaif_client._cli_submit import given_of, spec_of, upload_path
from kdaif_client._cli_up import up
from kdaif_client._cli_weights import weights_commands
from kdaif_client._job import Job
from kdaif_client._signature import SIGNATURE
from kdaif_client.errors import JobFailed
from kdaif_client.types import JobState

__all__ = ["app", "main"]

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Distil a small student from a teacher, and see which samples helped or harmed.",
    epilog="Start with [bold]kdaif up[/] in one terminal and [bold]kdaif submit --labeled labeled.parquet "
    "--unlabeled pool.parquet --wait[/] in another. Exit codes: 0 done, 1 the job failed, 2 wrong usage or input, "
    "3 not found, 4 no server.",
)

weights_commands(app)
rollout_commands(app)


def main() -> None:
    """Entry point."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kdaif {version('kdaif-client')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    target: Annotated[  # commands read it from the context, as --tenant
        str | None, typer.Option(metavar="HOST:PORT", help="The server's address; before or after the command.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose data sets and jobs; before or after the command.")] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help="File with the API key or token; default KDAIF_API_KEY_FILE, or KDAIF_API_KEY."),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt the connection; or KDAIF_TLS.")] = False,
    root_certificates: Annotated[
        Path | None,
        typer.Option(
            help="PEM: the authority behind the server's certificate; default KDAIF_ROOT_CERTIFICATES, or the system's."
        ),
    ] = None,
    client_certificate: Annotated[
        Path | None, typer.Option(help="PEM: your own certificate, for mutual TLS; default KDAIF_CLIENT_CERTIFICATE.")
    ] = None,
    client_key: Annotated[
        Path | None, typer.Option(help="PEM: the private key of that; default KDAIF_CLIENT_KEY.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="PEM: the key that pulled students must be signed by; default KDAIF_PUBLIC_KEY.")
    ] = None,
) -> None:
    """Distil a small student from a teacher, and see which samples helped or harmed."""
    show_credentials(
        api_key_file=api_key_file,
        tls=tls or None,
        root_certificates=root_certificates,
        client_certificate=client_certificate,
        client_key=client_key,
        public_key=public_key,
    )


@app.command(epilog="Example: [bold]kdaif upload pool.parquet --name pool[/]   or [bold]kdaif upload teacher.onnx[/]")
def upload(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|URI",
            help="Rows: Parquet, .csv, .jsonl, .ndjson, .arrow, .feather or .npz. A model: .onnx, .safetensors, or a "
            "Hugging Face folder or .tar of one. Or file:///... or s3://..., which the server reads where it is.",
            show_default=False,
        ),
    ],
    name: Annotated[str | None, typer.Option(help="What people call it; default the file's name.")] = None,
    streams: Annotated[
        int, typer.Option(min=1, max=16, help="Connections for a large file; several help over a far network.")
    ] = 1,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Upload a table or a model. Known bytes are not sent again; a broken upload goes on where it stopped."""
    interrupted = "Stopped. The same command goes on where this one ended."
    with connection(target, tenant, on_interrupt=interrupted, upload_streams=streams) as client:
        called = name or Path(file).stem
        if "://" in file:
            dataset = client.register_dataset(file, name=called)
        else:
            dataset = upload_path(client, Path(file), called, progress=bars_shown(as_json))
        print_json(dataset) if as_json else typer.echo(dataset.name)


@app.command(epilog="Example: [bold]kdaif datasets --json | jq .name[/]")
def datasets(
    limit: Annotated[int | None, typer.Option(min=1, help="How many at most.")] = None,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """List the data sets: tables and models, uploaded or read where they are."""
    with connection(target, tenant) as client:
        found = client.list_datasets(limit)
        if as_json:
            for dataset in found:
                print_json(dataset)
        else:
            tables.show_datasets(found)


@app.command(
    epilog="Example: [bold]kdaif submit --labeled labeled.parquet --unlabeled pool.parquet --student mlp:64 --wait[/]"
)
def submit(
    context: typer.Context,
    labeled: options.Labeled = None,
    unlabeled: options.Unlabeled = None,
    validation: options.Validation = None,
    test: options.Test = None,
    external: options.External = None,
    student: options.Student = None,
    teacher: options.Teacher = None,
    planted_noise: options.PlantedNoise = None,
    categorical: options.Categorical = None,
    nullable: options.Nullable = None,
    rounds: options.Rounds = None,
    seed: options.Seed = None,
    seeds: options.Seeds = None,
    device: options.Device = None,
    max_runtime_s: options.MaxRuntime = None,
    priority: options.Priority = None,
    gpus: options.Gpus = None,
    worker_labels: options.WorkerLabels = None,
    deadline_s: options.Deadline = None,
    spec: options.SpecFile = None,
    name: Annotated[str, typer.Option(help="What people call the job.")] = "",
    request_id: Annotated[
        str | None, typer.Option(help="Makes the call safe to repeat: the same id gives the same job.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Check everything, queue nothing.")] = False,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Check the data and queue a distillation job.

    Data sets are given by display name, id, resource name, or as a file of rows, which is uploaded.
    """
    with connection(target, tenant) as client:
        whole = spec_of(client, given_of(context.params), note, command="submit", progress=bars_shown(as_json))
        if validate_only:
            findings = client.validate(whole)
            print_json(findings) if as_json else tables.show_findings(findings)
            if not findings and not as_json:
                typer.echo("Preflight found nothing to tell.")
            raise typer.Exit(2 if any(finding.severity == "ERROR" for finding in findings) else 0)
        job = client.submit_spec(whole, request_id=request_id, display_name=name)
        if wait:
            _follow(job, as_json)
        elif as_json:
            print_json(job.info)
        else:
            typer.echo(job.name)  # alone on the output, for JOB=$(kdaif submit ...)
            tables.show_findings(job.info.preflight, beside=True)
            tables.show_estimate(job.info.estimate, beside=True)
            note(f"Follow it with: kdaif watch {_id(job)}")


@app.command(
    epilog="Example: [bold]kdaif check --labeled labeled.parquet --unlabeled pool.parquet --rejected bad.parquet[/]"
)
def check(
    context: typer.Context,
    labeled: options.Labeled = None,
    unlabeled: options.Unlabeled = None,
    validation: options.Validation = None,
    test: options.Test = None,
    external: options.External = None,
    student: options.Student = None,
    teacher: options.Teacher = None,
    planted_noise: options.PlantedNoise = None,
    categorical: options.Categorical = None,
    nullable: options.Nullable = None,
    rounds: options.Rounds = None,
    seed: options.Seed = None,
    seeds: options.Seeds = None,
    device: options.Device = None,
    max_runtime_s: options.MaxRuntime = None,
    priority: options.Priority = None,
    gpus: options.Gpus = None,
    worker_labels: options.WorkerLabels = None,
    deadline_s: options.Deadline = None,
    spec: options.SpecFile = None,
    rejected: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the rows that are left out, and why, as Parquet.")
    ] = None,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Check the data of a job and say what it would cost; queue nothing.

    Takes the options of submit. Ends with exit code 2 when the job would be refused, as submit does.
    """
    with connection(target, tenant) as client:
        whole = spec_of(client, given_of(context.params), note, command="check", progress=bars_shown(as_json))
        found = client.preflight(whole)
        document: dict[str, object] = {"findings": found.findings, "estimate": found.estimate}
        rows = None
        if rejected is not None:  # the server looks at all the data again for it
            rows = client.rejected_rows(whole)
            pq.write_table(rows, rejected)
            document["rejected_rows"] = len(rows)
        if as_json:
            print_json(document)
        else:
            tables.show_check(found, rejected, None if rows is None else len(rows))
        raise typer.Exit(2 if found.refuses else 0)


@app.command(epilog="Example: [bold]kdaif watch 01m886kexk140fydjmht61s2se --json[/]")
def watch(
    job: JobArgument,
    after: Annotated[int, typer.Option(min=0, help="Leave out events up to this sequence number.")] = 0,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Print the events of a job until it ends. Survives a restart of the server."""
    with connection(target, tenant, on_interrupt=f"The job goes on. To end it: kdaif cancel {job}") as client:
        handle = client.get_job(job)
        for event in handle.watch(after_sequence=after):
            print_json(event) if as_json else typer.echo(str(event))
        _report(handle.refresh(), quiet=as_json)


@app.command(
    epilog="Example: [bold]kdaif pull 01m886kexk140fydjmht61s2se student/[/]   or on a device "
    "[bold]kdaif pull --alias champion --device cam-17 student/[/]"
)
def pull(
    job: Annotated[
        str | None,
        typer.Argument(metavar="JOB", help="Id or resource name of the job; none with --alias.", show_default=False),
    ] = None,
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="Where to put the files; default student.")
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option(help="champion: what the device should run; canary: the canary itself. FOLDER becomes a link."),
    ] = None,
    device: Annotated[str, typer.Option(help="Any text that stays that of the device; with --alias.")] = "",
    line: LineOption = "default",
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Download the student of a succeeded job and verify every byte. A broken download is resumed.

    With --alias it is the student that a device should run, and the folder is swapped in one step when that changed.
    """
    if alias is not None:
        with exit_codes():
            place = alias_folder(job, folder)
            pull_by_alias(target, tenant, line=line, alias=alias, device=device, folder=place, as_json=as_json)
        return
    if job is None or device:
        raise typer.BadParameter("name a JOB, or what a device should run: --alias champion --device NAME")
    folder = folder or Path("student")
    with connection(target, tenant, on_interrupt="Stopped. The same command goes on where this one ended.") as client:
        handle = client.get_job(job.replace("/students/", "/distillationJobs/"))
        student = handle.student()
        handle.download_bundle(folder, progress=bars_shown(as_json))
        if as_json:
            print_json({"folder": str(folder), "student": student})
        else:
            for path in (*(file.path for file in student.files), SIGNATURE):
                if (folder / path).exists():  # servers of before sign nothing
                    typer.echo(f"{folder / path}")
            note("Verified: every file has the SHA-256 that was published.")


@app.command(epilog="Example: [bold]kdaif jobs --state running[/]   or [bold]kdaif jobs 01m886kexk140fydjmht61s2se[/]")
def jobs(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="Show only this one, in full.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first, or show one in full."""
    with connection(target, tenant) as client:
        if job is not None:
            info = client.get_job(job).info
            print_json(info) if as_json else tables.show_job(info)
            return
        found = (each.info for each in client.list_jobs(states=state or (), limit=limit))
        if as_json:
            for info in found:
                print_json(info)
        else:
            tables.show_jobs(found)


for _action in (actions.cancel, actions.retry, actions.resume, actions.reject, actions.delete):
    app.command(epilog=f"Example: [bold]kdaif {_action.__name__} 01m886kexk140fydjmht61s2se[/]")(_action)

app.command(epilog="Example: [bold]kdaif export-mlflow 01m886kexk140fydjmht61s2se[/]")(export_mlflow)


app.command(epilog="Example: [bold]kdaif audit --verify[/]")(audit)


app.command(epilog="Example: [bold]kdaif up --port 50051 --data-dir ~/.kdaif[/]")(up)


def _follow(job: Job, as_json: bool) -> None:
    """Waits. Ctrl-C leaves the job running and says how to come back."""
    if not as_json:
        typer.echo(job.name)
        tables.show_findings(job.info.preflight)
    with exit_codes(f"The job goes on. To follow it: kdaif watch {_id(job)}. To end it: kdaif cancel {_id(job)}"):
        with suppress(JobFailed):  # told by _report, with the exit code
            job.wait(progress=bars_shown(as_json))
        if as_json:
            print_json(job.info)
        _report(job, quiet=as_json)


def _report(job: Job, *, quiet: bool) -> None:
    """The outcome of a job that has ended, also as the exit code."""
    if job.state is JobState.SUCCEEDED:
        if not quiet and job.info.result is not None:
            tables.show_result(job.info.result)
            note(f"Fetch the student: kdaif pull {_id(job)}     See the samples: kdaif weights {_id(job)}")
        return
    failure = job.info.failure
    told = f" ({failure.reason}): {failure.message.rstrip('.')}" if failure else ""
    complain(f"Job {job.name} ended {job.state}{told}. To queue it again: kdaif retry {_id(job)}")
    raise typer.Exit(1)


def _id(job: Job) -> str:
    return job.name.rsplit("/", 1)[-1]

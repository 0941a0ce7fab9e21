"""The ``kdaif`` command."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from kdaif_client import _cli_tables as tables
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
)
from kdaif_client._cli_submit import (
    NOISE_FORMS,
    STUDENT_FORMS,
    TEACHER_FORMS,
    find_dataset,
    overridden,
    read_spec,
)
from kdaif_client._job import Job
from kdaif_client.errors import InvalidArgument, JobFailed, MissingDependency
from kdaif_client.spec import Spec
from kdaif_client.types import JobState

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Distil a small student from a teacher, and see which samples helped or harmed.",
    epilog="Start with [bold]kdaif up[/] in one terminal and [bold]kdaif submit --labeled labeled.parquet "
    "--unlabeled pool.parquet --wait[/] in another. Exit codes: 0 done, 1 the job failed, 2 wrong usage or input, "
    "3 not found, 4 no server.",
)


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
) -> None:
    """Distil a small student from a teacher, and see which samples helped or harmed."""


@app.command(epilog="Example: [bold]kdaif upload pool.parquet --name pool[/]")
def upload(
    file: Annotated[
        Path, typer.Argument(help="Parquet, .csv, .jsonl, .ndjson, .arrow, .feather or .npz.", show_default=False)
    ],
    name: Annotated[str | None, typer.Option(help="What people call it; default the file's name.")] = None,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Upload a table. Known bytes are not sent again; a broken upload goes on where it stopped."""
    with connection(target, tenant, on_interrupt="Stopped. The same command goes on where this one ended.") as client:
        dataset = client.upload_dataset(file, name=name or file.stem, progress=bars_shown(as_json))
        print_json(dataset) if as_json else typer.echo(dataset.name)


@app.command(epilog="Example: [bold]kdaif datasets --json | jq .name[/]")
def datasets(
    limit: Annotated[int | None, typer.Option(min=1, help="How many at most.")] = None,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """List the uploaded tables."""
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
    labeled: Annotated[str | None, typer.Option(metavar="NAME|FILE", help="Rows with human labels.")] = None,
    unlabeled: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="The pool that the teacher labels.")
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Labels that score the weights; default a share of --labeled."),
    ] = None,
    test: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Labels that only measure; default a share of --labeled.")
    ] = None,
    external: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Labels of an outer set; the report repeats its claims there."),
    ] = None,
    student: Annotated[str | None, typer.Option(metavar="NET", help=f"{STUDENT_FORMS}.")] = None,
    teacher: Annotated[str | None, typer.Option(metavar="TEACHER", help=f"{TEACHER_FORMS}.")] = None,
    planted_noise: Annotated[
        str | None, typer.Option(metavar="KIND:SHARE", help=f"A rehearsal with wrong soft targets: {NOISE_FORMS}.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of training and weighing; default 4.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default 0.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds that each arm is trained with; default 3.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:0; default auto.")] = None,
    max_runtime_s: Annotated[int | None, typer.Option(help="Wall-clock limit of one attempt; default a day.")] = None,
    spec: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A whole spec as JSON; the other options go over it.")
    ] = None,
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
        base = read_spec(spec) if spec is not None else Spec(labeled="", unlabeled="")
        _require_data(labeled or base.labeled, unlabeled or base.unlabeled)
        given = {
            "labeled": labeled,
            "unlabeled": unlabeled,
            "validation": validation,
            "test": test,
            "external": external,
        }
        # Short forms are read before anything is uploaded, so that a slip costs nothing.
        changed = overridden(
            base,
            student=student,
            teacher=teacher,
            planted_noise=planted_noise,
            training={"rounds": rounds, "seed": seed, "seeds": seeds},
            others={"device": device, "max_runtime_s": max_runtime_s},
            datasets={},
        )
        found = {
            role: find_dataset(client, text, note, progress=bars_shown(as_json)) if text else None
            for role, text in given.items()
        }
        whole = overridden(
            changed, datasets=dict(found), student=None, teacher=None, planted_noise=None, training={}, others={}
        )
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
            typer.echo(job.name)
            tables.show_findings(job.info.preflight)
            note(f"Follow it with: kdaif watch {_id(job)}")


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
    epilog="Example, the ten most harmful: [bold]kdaif weights 01m886kexk140fydjmht61s2se --limit 10[/]   "
    "and the ten that help most, with [bold]--order-by val_loss_change_if_upweighted[/]"
)
def weights(
    job: JobArgument,
    order_by: Annotated[
        str,
        typer.Option(help="id, weight, val_loss_change_if_upweighted, log_odds, ...; ' desc' turns it round."),
    ] = "val_loss_change_if_upweighted desc",
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0 for all.")] = 20,
    round_number: Annotated[int | None, typer.Option("--round", min=1, help="Default the last.")] = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="Only this sample; may be repeated.")] = None,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show what each sample weighs and why; the most harmful first.

    A positive loss change means that more weight on the sample would raise the validation loss: it harms.
    """
    with connection(target, tenant) as client:
        most = None if ids else limit or None
        found = client.get_job(job).weights(order_by=order_by, limit=most, round=round_number, ids=ids or None)
        if as_json:
            for weight in found:
                print_json(weight)
        else:
            tables.show_weights(found)


@app.command(epilog="Example: [bold]kdaif pull 01m886kexk140fydjmht61s2se student/[/]")
def pull(
    job: JobArgument,
    folder: Annotated[Path, typer.Argument(help="Where to put the files.")] = Path("student"),
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Download the student of a succeeded job and verify every byte. A broken download is resumed."""
    with connection(target, tenant, on_interrupt="Stopped. The same command goes on where this one ended.") as client:
        handle = client.get_job(job.replace("/students/", "/distillationJobs/"))
        student = handle.student()
        handle.download_bundle(folder, progress=bars_shown(as_json))
        if as_json:
            print_json({"folder": str(folder), "student": student})
        else:
            for file in student.files:
                typer.echo(f"{folder / file.path}")
            note("Verified: every file has the SHA-256 that was published.")


@app.command(epilog="Example: [bold]kdaif jobs --state running[/]   or [bold]kdaif jobs 01m886kexk140fydjmht61s2se[/]")
def jobs(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Show only this one, in full.")] = None,
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


@app.command(epilog="Example: [bold]kdaif cancel 01m886kexk140fydjmht61s2se[/]")
def cancel(
    job: JobArgument, target: Target = DEFAULT_TARGET, tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """End a job. A queued one ends at once, a running one within seconds."""
    with connection(target, tenant) as client:
        handle = client.get_job(job).cancel()
        print_json(handle.info) if as_json else typer.echo(f"{handle.name} {handle.state}")


@app.command(epilog="Example: [bold]kdaif retry 01m886kexk140fydjmht61s2se[/]")
def retry(
    job: JobArgument, target: Target = DEFAULT_TARGET, tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """Queue a failed, dead or cancelled job again. It goes on from its last checkpoint."""
    with connection(target, tenant) as client:
        handle = client.get_job(job).retry()
        print_json(handle.info) if as_json else typer.echo(f"{handle.name} {handle.state}")


@app.command(epilog="Example: [bold]kdaif up --port 50051 --data-dir ~/.kdaif[/]")
def up(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default 50051; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where everything is kept; default ~/.kdaif.")] = None,
) -> None:
    """Run the whole stack on this machine until Ctrl-C: queue, server and one worker."""
    with exit_codes():
        if find_spec("kdaif_server") is None or find_spec("kdaif_worker") is None:
            raise MissingDependency(
                "kdaif up runs the server and a worker, and they are not installed here, only the client. "
                "Install them with: pip install kdaif-server kdaif-worker"
            )
        command = [sys.executable, "-m", "kdaif_server", "up"]
        command += ["--port", str(port)] if port is not None else []
        command += ["--data-dir", str(data_dir)] if data_dir is not None else []
        # In this process's place, so that signals and the exit code are the stack's own.
        os.execv(sys.executable, command)  # noqa: S606


def _require_data(labeled: object, unlabeled: object) -> None:
    missing = [option for option, value in (("--labeled", labeled), ("--unlabeled", unlabeled)) if not value]
    if missing:
        raise InvalidArgument(
            f"{' and '.join(missing)} missing. For example: "
            "kdaif submit --labeled labeled.parquet --unlabeled pool.parquet --wait"
        )


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

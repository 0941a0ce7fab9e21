"""The commands that move a job: cancel, retry, resume, reject and delete."""

from __future__ import annotations

from typing import Annotated

import typer

from kdaif_client._cli_decisions import Author, Ban, Clear, Pin, Relabel, decided, named
from kdaif_client._cli_session import DEFAULT_TARGET, AsJson, JobArgument, Target, Tenant, connection, print_json
from kdaif_client._job import Job


def cancel(
    job: JobArgument, target: Target = DEFAULT_TARGET, tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """End a job. One that waits ends at once, a running one within seconds."""
    with connection(target, tenant) as client:
        _tell(client.get_job(job).cancel(), as_json)


def retry(
    job: JobArgument, target: Target = DEFAULT_TARGET, tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """Queue a failed, dead or cancelled job again. It goes on from its last checkpoint."""
    with connection(target, tenant) as client:
        _tell(client.get_job(job).retry(), as_json)


def resume(
    job: JobArgument,
    reason: Annotated[str, typer.Option(help="Why; kept for good. Needed with decisions on samples.")] = "",
    author: Author = "",
    ban: Ban = None,
    pin: Pin = None,
    relabel: Relabel = None,
    clear: Clear = None,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Let a job that awaits a review go on, from its last checkpoint, with decisions on samples where some are given.

    They hold from the next round on. Options that decide may be repeated.
    """
    with connection(target, tenant) as client:
        chosen = decided(pin, ban, relabel, clear)
        author = named(author) if any(chosen.values()) else author
        _tell(client.get_job(job).resume(author=author, reason=reason, **chosen), as_json)


def reject(
    job: JobArgument,
    why: Annotated[str, typer.Option(help="Kept as the message of the job's failure.")] = "",
    author: Author = "",
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Fail a job that awaits a review."""
    with connection(target, tenant) as client:
        _tell(client.get_job(job).reject(why, author=author), as_json)


def delete(
    job: JobArgument, target: Target = DEFAULT_TARGET, tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """Remove a job that has ended, with its events, weights and student."""
    with connection(target, tenant) as client:
        handle = client.get_job(job)
        handle.delete()
        print_json({"deleted": handle.name}) if as_json else typer.echo(f"{handle.name} deleted")


def _tell(job: Job, as_json: bool) -> None:
    print_json(job.info) if as_json else typer.echo(f"{job.name} {job.state}")

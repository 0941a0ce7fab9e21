"""The verbs of the ``kdaif`` command that read weights and overrule them."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from kdaif_client import _cli_weight_tables as tables
from kdaif_client._cli_decisions import Author, Ban, Clear, Pin, Relabel, decided, named
from kdaif_client._cli_session import DEFAULT_TARGET, AsJson, JobArgument, Target, Tenant, connection, note, print_json
from kdaif_client.spec import Monitoring

Filter = Annotated[
    str, typer.Option("--filter", metavar="CONDITIONS", help="Such as 'group_sex = \"F\" AND weight < 0.2'.")
]
Round = Annotated[int | None, typer.Option("--round", min=1, help="Default the last.")]


def weights_commands(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command(
        epilog="Example, the ten most harmful: [bold]kdaif weights 01m886kexk140fydjmht61s2se --limit 10[/]   "
        "and the ten that help most, with [bold]--order-by val_loss_change_if_upweighted[/]"
    )(weights)
    app.command(epilog="Example: [bold]kdaif history 01m886kexk140fydjmht61s2se row-17 row-18[/]")(history)
    app.command(epilog="Example: [bold]kdaif explain 01m886kexk140fydjmht61s2se row-17[/]")(explain)
    app.command(epilog="Example: [bold]kdaif summary 01m886kexk140fydjmht61s2se --filter 'weight < 0.2'[/]")(summary)
    app.command(
        epilog="Example: [bold]kdaif override 01m886kexk140fydjmht61s2se --ban row-17 --relabel row-18=cat --pin "
        "row-19=2 --reason 'seen by hand'[/]"
    )(override)
    app.command(epilog="Example: [bold]kdaif overrides 01m886kexk140fydjmht61s2se[/]")(overrides)
    app.command(epilog="Example: [bold]kdaif rerun 01m886kexk140fydjmht61s2se --with-overrides[/]")(rerun)
    app.command(epilog="Example: [bold]kdaif diff 01m886kexk140fydjmht61s2se 01m8a2r7c0e9yqk1fpnx5d3b4z[/]")(diff)


def weights(
    job: JobArgument,
    order_by: Annotated[
        str,
        typer.Option(help="id, weight, val_loss_change_if_upweighted, log_odds, ...; ' desc' turns it round."),
    ] = "val_loss_change_if_upweighted desc",
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0 for all.")] = 20,
    round_number: Round = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="Only this sample; may be repeated.")] = None,
    where: Filter = "",
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show what each sample weighs and why; the most harmful first.

    A positive loss change means that more weight on the sample would raise the validation loss: it harms.
    """
    with connection(target, tenant) as client:
        most = None if ids else limit or None
        found = client.get_job(job).weights(
            order_by=order_by, limit=most, round=round_number, ids=ids or None, filter=where
        )
        if as_json:
            for weight in found:
                print_json(weight)
        else:
            tables.show_weights(found)


def history(
    job: JobArgument,
    ids: Annotated[list[str], typer.Argument(metavar="SAMPLE...", help="Ids of samples.")],
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show how the weights of samples moved over the rounds."""
    with connection(target, tenant) as client:
        found = client.get_job(job).weight_history(ids)
        if as_json:
            for rounds in found.values():
                for weight in rounds:
                    print_json(weight)
        else:
            tables.show_history(found)


def explain(
    job: JobArgument,
    sample: Annotated[str, typer.Argument(metavar="SAMPLE", help="Id of the sample.")],
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Say in words why a sample weighs what it weighs."""
    with connection(target, tenant) as client:
        found = client.get_job(job).explain(sample)
        if as_json:
            print_json(found)
        else:
            typer.echo(str(found))


def summary(
    job: JobArgument,
    round_number: Round = None,
    where: Filter = "",
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show a round at a glance: how weights are spread, and what classes and groups weigh."""
    with connection(target, tenant) as client:
        found = client.get_job(job).summarize_weights(round=round_number, filter=where)
        if as_json:
            print_json(found)
        else:
            tables.show_summary(found)


def override(
    job: JobArgument,
    reason: Annotated[str, typer.Option(help="Why; kept for good.")],
    author: Author = "",
    ban: Ban = None,
    pin: Pin = None,
    relabel: Relabel = None,
    clear: Clear = None,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Record decisions on single samples, for a re-run, or for the rest of a job that awaits a review.

    Each option may be repeated. A job that succeeded does not change.
    """
    with connection(target, tenant) as client:
        revision = client.get_job(job).override(
            **decided(pin, ban, relabel, clear), author=named(author), reason=reason
        )
        if as_json:
            print_json(revision)
        else:
            count = len(revision.overrides)
            note(f"Revision {revision.revision}: {count} decision{'s' if count != 1 else ''} by {revision.author}.")


def overrides(
    job: JobArgument, target: Target = DEFAULT_TARGET, tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """Show every decision ever recorded on a job's samples: who, when, why and what."""
    with connection(target, tenant) as client:
        revisions = client.get_job(job).override_revisions()
        if as_json:
            for revision in revisions:
                print_json(revision)
        else:
            tables.show_overrides(revisions)


def rerun(
    job: JobArgument,
    with_overrides: Annotated[
        bool, typer.Option("--with-overrides/--without-overrides", help="Apply what people decided on its samples.")
    ] = True,
    explain: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Find out whom this sample helps and harms; may be repeated.")
    ] = None,
    name: Annotated[str, typer.Option(help="What people call the new job.")] = "",
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Queue a job again as a new one, with the decisions that were recorded on its samples."""
    with connection(target, tenant) as client:
        changes: dict[str, Any] = {}
        if explain:
            monitoring = client.get_job(job).info.spec.monitoring or Monitoring()
            changes["monitoring"] = dataclasses.replace(monitoring, explain_ids=explain)
        made = client.rerun(job, with_overrides=with_overrides, display_name=name, **changes)
        if as_json:
            print_json(made.info)
        else:
            typer.echo(made.name)
            former, again = (named.rsplit("/", 1)[-1] for named in (job, made.name))
            note(f"See what changed when it is done: kdaif diff {former} {again}")


def diff(
    job: JobArgument,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The second job, such as a re-run of the first.")],
    limit: Annotated[int, typer.Option(min=0, help="How many samples at most; 0 for all.")] = 20,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show what a second job has that a first one has not: accuracy by arm, and samples whose weight moved."""
    with connection(target, tenant) as client:
        found = client.get_job(job).compare(client.get_job(other))
        if as_json:
            print_json(found)
        else:
            tables.show_difference(found, limit or None)

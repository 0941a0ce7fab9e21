"""The verbs of the ``kdaif`` command that roll students out: ``kdaif alias ...``, and ``kdaif pull --alias``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from kdaif_client._cli_session import DEFAULT_TARGET, AsJson, Target, Tenant, bars_shown, connection, note, print_json
from kdaif_client._cli_tables import show_table
from kdaif_client.errors import InvalidArgument
from kdaif_client.rollout_types import LineInfo, LineRevision, Outcomes, Resolved, Rollout

LineOption = Annotated[
    str, typer.Option("--line", help="A name for students that follow one another on the same devices.")
]
Student = Annotated[str, typer.Argument(metavar="STUDENT", help="Id or resource name.", show_default=False)]
Author = Annotated[str, typer.Option(envvar=["KDAIF_AUTHOR", "USER"], help="Who decides; kept for good.")]
Reason = Annotated[str, typer.Option(help="Why; kept for good.")]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Go on whatever the promotion gate says. It is recorded; a canary set so needs no --force later.",
    ),
]
Margin = Annotated[float | None, typer.Option(help="What it may lose in accuracy on the same test rows; default 0.01.")]
GroupMargin = Annotated[float | None, typer.Option(help="The same for the worst group; default: --margin.")]
Revision = Annotated[
    int | None, typer.Option("--expected-revision", min=0, help="Refuse if the line is at another revision.")
]

_alias = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Say which student devices run: champion, canary with a share, promote, roll back.",
)


def rollout_commands(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.add_typer(_alias, name="alias")


@_alias.command(epilog="Example: [bold]kdaif alias champion 01m886kexk140fydjmht61s2se --line intents[/]")
def champion(
    student: Student,
    line: LineOption = "default",
    reason: Reason = "",
    author: Author = "unknown",
    force: Force = False,
    margin: Margin = None,
    group_margin: GroupMargin = None,
    expected_revision: Revision = None,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Make a student the champion, for all devices at once."""
    with connection(target, tenant) as client:
        made = client.line(line).set_champion(
            student,
            reason=reason,
            author=author,
            force=force,
            margin=margin,
            group_margin=group_margin,
            expected_revision=expected_revision,
        )
        _tell(made, as_json)


@_alias.command(
    epilog="Example: [bold]kdaif alias canary 01m8a3sn0q1x5d7w9v2c4b6k8m --share 0.05 --automatic --line intents[/]"
)
def canary(
    student: Student,
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the devices.")] = 0.05,
    automatic: Annotated[
        bool, typer.Option("--automatic", help="Promote or roll back once outcomes have decided.")
    ] = False,
    line: LineOption = "default",
    reason: Reason = "",
    author: Author = "unknown",
    force: Force = False,
    margin: Margin = None,
    group_margin: GroupMargin = None,
    expected_revision: Revision = None,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Try a student on a share of the devices, or change that share."""
    with connection(target, tenant) as client:
        made = client.line(line).canary(
            student,
            share,
            automatic=automatic,
            reason=reason,
            author=author,
            force=force,
            margin=margin,
            group_margin=group_margin,
            expected_revision=expected_revision,
        )
        _tell(made, as_json)


@_alias.command(epilog="Example: [bold]kdaif alias promote --line intents[/]")
def promote(
    line: LineOption = "default",
    reason: Reason = "",
    author: Author = "unknown",
    force: Force = False,
    margin: Margin = None,
    group_margin: GroupMargin = None,
    expected_revision: Revision = None,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Make the canary the champion."""
    with connection(target, tenant) as client:
        made = client.line(line).promote(
            reason=reason,
            author=author,
            force=force,
            margin=margin,
            group_margin=group_margin,
            expected_revision=expected_revision,
        )
        _tell(made, as_json)


@_alias.command("roll-back", epilog="Example: [bold]kdaif alias roll-back --line intents --reason 'too slow'[/]")
def roll_back(
    champion: Annotated[
        bool, typer.Option("--champion", help="Go back to the previous champion, and drop the canary too.")
    ] = False,
    line: LineOption = "default",
    reason: Reason = "",
    author: Author = "unknown",
    expected_revision: Revision = None,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Drop the canary, or with --champion go back to the champion before."""
    with connection(target, tenant) as client:
        made = client.line(line).roll_back(
            champion=champion, reason=reason, author=author, expected_revision=expected_revision
        )
        _tell(made, as_json)


@_alias.command(epilog="Example: [bold]kdaif alias show --line intents[/]")
def show(
    line: Annotated[str | None, typer.Option("--line", help="Default all lines.")] = None,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show champion, canary and share of a line, or of all."""
    with connection(target, tenant) as client:
        found = client.list_lines() if line is None else [client.line(line).get()]
        if as_json:
            for each in found:
                print_json(each)
        else:
            _show_lines(found)


@_alias.command(epilog="Example: [bold]kdaif alias history --line intents[/]")
def history(
    line: LineOption = "default",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show every change of a line, newest first: who, when, why and what."""
    with connection(target, tenant) as client:
        found = client.line(line).history(limit)
        if as_json:
            for each in found:
                print_json(each)
        else:
            _show_history(found)


@_alias.command(epilog="Example: [bold]kdaif alias resolve cam-17 --line intents[/]")
def resolve(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Any text that always names this device.")],
    line: LineOption = "default",
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Say what a device should run."""
    with connection(target, tenant) as client:
        found = client.line(line).resolve(device)
        print_json(found) if as_json else typer.echo(found.student)


@_alias.command(
    epilog="Example: [bold]kdaif alias report --line intents --rollout intents.7 --student "
    "01m8a3sn0q1x5d7w9v2c4b6k8m --predictions 250 --right 18 --total 20[/]"
)
def report(
    student: Annotated[str, typer.Option(help="What the device ran.", show_default=False)],
    rollout: Annotated[str, typer.Option(help="As pull --json or resolve --json told it.", show_default=False)],
    predictions: Annotated[int, typer.Option(min=0, help="Made since the last report.")] = 0,
    right: Annotated[int, typer.Option(min=0, help="Of those whose truth became known, how many were right.")] = 0,
    total: Annotated[int, typer.Option(min=0, help="How many became known since the last report.")] = 0,
    request_id: Annotated[str | None, typer.Option(help="Makes the call safe to repeat for a day.")] = None,
    line: LineOption = "default",
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Add what a device saw of its student during a rollout."""
    with connection(target, tenant) as client:
        name = student if "/" in student else f"tenants/{tenant}/students/{student}"
        running = Resolved(name, is_canary=False, revision=0, rollout=rollout)
        found = client.line(line).report(
            running, predictions=predictions, right=right, total=total, request_id=request_id
        )
        print_json(found) if as_json else _show_rollout(found)


@_alias.command(epilog="Example: [bold]kdaif alias rollout --line intents[/]")
def rollout(
    name: Annotated[str, typer.Argument(metavar="ROLLOUT", help="Default: the one under way.")] = "",
    line: LineOption = "default",
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show what devices saw of champion and canary, and what that says."""
    with connection(target, tenant) as client:
        found = client.line(line).rollout(name)
        print_json(found) if as_json else _show_rollout(found)


def alias_folder(first: str | None, second: Path | None) -> Path:
    """The folder of a pull by alias, which takes one argument where a pull of a job takes two."""
    if first is not None and second is not None:
        raise InvalidArgument.of("job", f"is {first!r} beside --alias, which names the student already; leave it out")
    return Path(first or second or "student")


def pull_by_alias(target: str, tenant: str, *, line: str, alias: str, device: str, folder: Path, as_json: bool) -> None:
    """Brings what a device should run into a folder, and says whether that changed."""
    if alias not in ("champion", "canary"):
        raise InvalidArgument.of("alias", f"is {alias!r}; choose champion or canary")
    with connection(target, tenant, on_interrupt="Stopped. The same command goes on where this one ended.") as client:
        running, changed = client.line(line).pull(folder, device=device, alias=alias, progress=bars_shown(as_json))
        if as_json:
            print_json({"folder": str(folder), **dataclasses.asdict(running), "changed": changed})
            return
        typer.echo(running.student)
        what = f"the {'canary' if running.is_canary else 'champion'} of line {line} at revision {running.revision}"
        if changed:
            note(f"Changed: {folder} now holds {what}, verified.")
        else:
            note(f"Unchanged: {folder} holds {what}, verified.")


def _tell(made: LineInfo, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    _show_lines([made])
    if made.gate:
        note(made.gate)


def _show_lines(lines: Iterable[LineInfo]) -> None:
    rows = [
        (
            each.name.rsplit("/", 1)[-1],
            str(each.revision),
            _id(each.champion),
            _id(each.canary.student) if each.canary else "",
            f"{each.canary.share:.1%}" if each.canary else "",
            "yes" if each.canary and each.canary.automatic else "",
            each.update_time,
        )
        for each in lines
    ]
    headers = ("LINE", ">REVISION", "CHAMPION", "CANARY", ">SHARE", "AUTOMATIC", "CHANGED")
    show_table(headers, rows, empty="No lines. One is there once a student is set as its champion.")


def _show_history(revisions: Iterable[LineRevision]) -> None:
    rows = [
        (
            str(each.revision),
            each.time,
            each.action,
            _id(each.student),
            f"{each.line.canary.share:.1%}" if each.line.canary else "",
            each.author + (" (by itself)" if each.automatic else "") + (" (forced)" if each.forced else ""),
            each.reason,
        )
        for each in revisions
    ]
    show_table((">REVISION", "TIME", "ACTION", "STUDENT", ">SHARE", "BY", "WHY"), rows, empty="No changes.")


def _show_rollout(found: Rollout) -> None:
    rows = [_arm("champion", found.champion), _arm("canary", found.canary)]
    show_table(("", "STUDENT", ">PREDICTIONS", ">RIGHT", ">OF", ">ACCURACY"), rows, empty="")
    state = "" if found.is_going_on else " It is over."
    typer.echo(
        f"{found.rollout}: {found.decision}. The canary is {100 * found.low:+.1f} to {100 * found.high:+.1f} points "
        f"from the champion.{state}"
    )


def _arm(name: str, found: Outcomes) -> tuple[str, ...]:
    accuracy = "" if found.accuracy is None else f"{found.accuracy:.1%}"
    return name, _id(found.student), f"{found.predictions:,}", f"{found.right:,}", f"{found.total:,}", accuracy


def _id(name: str) -> str:
    return name.rsplit("/", 1)[-1]

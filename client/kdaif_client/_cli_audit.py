"""``kdaif audit``: what people decided, and whether the record of it is whole."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from kdaif_client._cli_session import (
    DEFAULT_TARGET,
    AsJson,
    Target,
    Tenant,
    complain,
    connection,
    note,
    print_json,
)
from kdaif_client._cli_tables import show_table, when
from kdaif_client.audit_types import AuditEntry
from kdaif_client.errors import InvalidArgument

_LONGEST = 60


def audit(
    limit: Annotated[int, typer.Option(min=0, help="How many at most, newest first; 0 for all.")] = 20,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check that no entry was changed or removed; exit code 1 if any was.")
    ] = False,
    expect: Annotated[
        str,
        typer.Option(metavar="NUMBER:SHA256", help="With --verify: this entry, noted before, must still be there."),
    ] = "",
    target: Target = DEFAULT_TARGET,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show who decided what, when and why: overrides, reviews, and changes of lines of students."""
    with connection(target, tenant) as client:
        if verify or expect:
            report = client.verify_audit(_expected(expect))
            if as_json:
                print_json(report)
            else:
                typer.echo(f"Entries: {report.entries:,}; the last is {report.number}:{report.sha256}")
            for fault in report.faults:
                complain(fault)
            if report.faults:
                raise typer.Exit(1)
            note("The log is whole. Note the last entry elsewhere: --expect then shows a log that was cut off.")
            return
        found = client.audit(limit or None)
        if as_json:
            for entry in found:
                print_json({name: value for name, value in vars(entry).items() if name != "record"})
        else:
            show_table(
                (">NUMBER", "TIME", "WHAT", "SUBJECT", "AUTHOR", "REASON", "DETAILS"),
                [_row(entry) for entry in found],
                empty="Nobody decided anything yet.",
            )


def _row(entry: AuditEntry) -> tuple[str, ...]:
    what = f"withdrawn: {entry.action}" if entry.kind == "WITHDRAWN" else entry.action
    details = ", ".join(_short(_told(name, text)) for name, text in sorted(entry.details.items()) if name != "state")
    subject = "/".join(entry.subject.split("/")[-2:])
    return str(entry.number), when(entry.time), what, subject, entry.author or "(unknown)", entry.reason, details


def _told(name: str, text: str) -> str:
    """Decisions as the options of ``kdaif override`` have them."""
    if name != "decisions":
        return f"{name} {text}"
    decisions = []
    for each in json.loads(text):
        value = each.get("class_name", each.get("weight"))
        decisions.append(f"{each['decision']} {each['id']}" + ("" if value is None else f"={value}"))
    return ", ".join(decisions)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _expected(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    number, _, sha256 = text.partition(":")
    if not number.isdecimal() or len(sha256) != 64:
        raise InvalidArgument.of("expect", f"is {text!r}; write NUMBER:SHA256, as kdaif audit --verify told it")
    return int(number), sha256

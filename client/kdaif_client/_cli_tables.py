"""Tables for people; tab-separated lines where the output is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import typer
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from kdaif_client.types import (
    ArmResult,
    Dataset,
    Estimate,
    Finding,
    JobInfo,
    JobResult,
    JobState,
    Preflight,
)

_STATE_STYLES = {
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.DEAD: "red",
    JobState.RUNNING: "cyan",
    JobState.CANCELLING: "yellow",
    JobState.AWAITING_REVIEW: "yellow",
    JobState.CANCELLED: "yellow",
}
# Headers of columns that are never broken or cut.
_WHOLE = frozenset({"ID", "STUDENT", "CHAMPION", "CANARY", "SUBJECT", "STATE", "CODE"})
_LONGEST_WORD = 10
_SEVERITY_STYLES = {"ERROR": "red", "WARNING": "yellow"}


def show_datasets(datasets: Iterable[Dataset]) -> None:
    """One line for each data set."""
    rows = [
        (
            _id(d.name),
            d.display_name,
            str(d.state),
            str(d.kind),
            f"{d.row_count:,}" if d.row_count else "",
            _size(d.size_bytes),
            when(d.create_time),
        )
        for d in datasets
    ]
    show_table(
        ("ID", "NAME", "STATE", "KIND", ">ROWS", ">SIZE", "CREATED"),
        rows,
        empty="No data sets yet. `kdaif upload FILE` makes one.",
    )


def show_jobs(jobs: Iterable[JobInfo]) -> None:
    """One line for each job."""
    rows = []
    for job in jobs:
        outcome = job.failure.reason if job.failure and job.state is not JobState.SUCCEEDED else ""
        if job.result is not None:
            shipped = job.result.shipped_arm or "influence"  # jobs of old name none
            outcome = ", ".join(f"{arm.arm} {arm.accuracy:.3f}" for arm in job.result.arms if arm.arm == shipped)
        elif job.progress is not None and not job.state.is_terminal:
            outcome = f"{job.progress} ({job.progress.fraction:.0%})"
        rows.append(
            (
                _id(job.name),
                job.display_name,
                Text(str(job.state), _STATE_STYLES.get(job.state, "")),
                f"{job.attempt}/{job.max_attempts}",
                outcome,
                when(job.create_time),
            )
        )
    show_table(
        ("ID", "NAME", "STATE", ">ATTEMPT", "OUTCOME", "CREATED"),
        rows,
        empty="No jobs yet. `kdaif submit` makes one.",
    )


def show_job(job: JobInfo) -> None:
    """Everything about one job."""
    console = Console(soft_wrap=True)
    console.print(Text.assemble((job.name, "bold"), "  ", (str(job.state), _STATE_STYLES.get(job.state, ""))))
    facts = {
        "name": job.display_name,
        "attempt": f"{job.attempt} of {job.max_attempts}",
        "progress": f"{job.progress} ({job.progress.fraction:.0%})"
        if job.progress and not job.state.is_terminal
        else "",
        "failure": f"{job.failure.reason}: {job.failure.message}" if job.failure and not job.result else "",
        "worker": job.worker if not job.state.is_terminal else "",
        "created": when(job.create_time),
        "deadline": when(job.deadline_time) if job.deadline_time and not job.state.is_terminal else "",
        "expected": _cost(job.estimate) if job.estimate and not job.result else "",
        "took": f"{job.result.seconds:.0f} s" if job.result else "",
    }
    for key, value in facts.items():
        if value:
            console.print(Text(f"  {key:<9} {value}"))
    if job.state is JobState.AWAITING_REVIEW:
        console.print(Text(f"  Let it go on: kdaif resume {_id(job.name)}     End it: kdaif reject {_id(job.name)}"))
    if job.failure and job.failure.log_tail and not job.result:
        console.print(Text(f"  the log of attempt {job.failure.attempt} ended with\n{job.failure.log_tail}", "dim"))
    show_findings(job.preflight)
    if job.result is not None:
        show_result(job.result)


def show_findings(findings: Iterable[Finding]) -> None:
    """What preflight saw, the worst first."""
    console = Console(soft_wrap=True)
    order = {"ERROR": 0, "WARNING": 1, "INFO": 2}
    for finding in sorted(findings, key=lambda finding: order.get(finding.severity, 3)):
        console.print(Text(f"  {finding}", _SEVERITY_STYLES.get(finding.severity, "dim")))


def show_check(found: Preflight, written: Path | None, rejected: int | None) -> None:
    """What the check of a job found: the findings as a table, the cost, and where the rows are that are left out."""
    order = {"ERROR": 0, "WARNING": 1, "INFO": 2}
    rows = [
        (
            Text(finding.severity, _SEVERITY_STYLES.get(finding.severity, "dim")),
            finding.code,
            finding.field,
            f"{finding.row_count:,}" if finding.row_count else "",
            finding.message,
            ", ".join(finding.ids) + (", ..." if finding.ids and finding.row_count > len(finding.ids) else ""),
        )
        for finding in sorted(found.findings, key=lambda finding: order.get(finding.severity, 3))
    ]
    show_table(("SEVERITY", "CODE", "FIELD", ">ROWS", "MESSAGE", "IDS"), rows, empty="Preflight found nothing to tell.")
    show_estimate(found.estimate)
    if written is not None:
        typer.echo(f"{rejected:,} rows rejected; written to {written}")
    elif any(finding.row_count for finding in found.findings):
        typer.echo("--rejected FILE writes the rows that are left out, each with its reason")


def show_estimate(estimate: Estimate | None) -> None:
    """What a job is expected to cost, where the server says so."""
    if estimate is not None:
        typer.echo(f"Of the order of {_cost(estimate)}.")


def show_result(result: JobResult) -> None:
    """The arms and the verdict under them, on the test rows and on the external ones where there are any."""
    _show_arms(result.arms, result.verdict)
    if result.external_arms:
        _show_arms(result.external_arms, result.external_verdict)
    if result.shipped_arm:
        told = "" if result.canary in result.verdict else f" {result.canary}"
        Console(soft_wrap=True).print(Text(f"The student of the {result.shipped_arm} arm is shipped.{told}"))


def _show_arms(arms: Sequence[ArmResult], verdict: str) -> None:
    rows = [
        (
            arm.arm,
            f"{arm.accuracy:.4f}",
            f"{arm.macro_f1:.4f}",
            "" if arm.accuracy_minus_uniform is None else f"{arm.accuracy_minus_uniform:+.4f}",
            "" if arm.p_value is None else f"{arm.p_value:.3g}",
            "" if arm.ece is None else f"{arm.ece:.3f}",
            "" if arm.size_kb is None else f"{arm.size_kb:.1f}",
            "" if arm.ms_per_row is None else f"{arm.ms_per_row:.3f}",
        )
        for arm in arms
    ]
    show_table(
        ("ARM", ">ACCURACY", ">MACRO F1", ">MINUS UNIFORM", ">P", ">ECE", ">KB", ">MS PER ROW"), rows, empty="No arms."
    )
    Console(soft_wrap=True).print(Text(verdict, "bold"))


def show_table(headers: Sequence[str], rows: Sequence[Sequence[str | Text]], *, empty: str) -> None:
    """A table. A header that starts with ``>`` is of a column of numbers."""
    if not sys.stdout.isatty():
        typer.echo("\t".join(header.removeprefix(">") for header in headers))
        for row in rows:
            typer.echo("\t".join(str(cell).replace("\t", " ") for cell in row))
        return
    if not rows:
        typer.echo(empty)
        return
    console = Console()
    columns = [[header.removeprefix(">"), *(str(row[i]) for row in rows)] for i, header in enumerate(headers)]
    # Ids and numbers are copied; a shortened one is of no use.
    whole = [header.startswith(">") or header in _WHOLE for header in headers]
    least = [_least_width(cells, keep) for cells, keep in zip(columns, whole, strict=True)]
    gap = 2 if sum(least) + 2 * len(least) <= console.width else 1
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, gap, 0, 0))
    for header, keep, width in zip(headers, whole, least, strict=True):
        justify: JustifyMethod = "right" if header.startswith(">") else "left"
        table.add_column(header.removeprefix(">"), justify=justify, no_wrap=keep, min_width=width)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    # A terminal that is too narrow even so breaks the lines; rich would cut the ids.
    Console(width=max(console.width, sum(least) + gap * len(least))).print(table)


def _least_width(cells: Sequence[str], keep: bool) -> int:
    """Characters below which a column cannot be read: all of it, or its longest word."""
    parts = cells if keep else [word[:_LONGEST_WORD] for cell in cells for word in cell.split()]
    return max(map(cell_len, parts), default=0)


def _id(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _size(size: int) -> str:
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= divisor:
            return f"{size / divisor:.1f} {unit}"
    return f"{size} B"


def _cost(estimate: Estimate) -> str:
    memory = float(f"{estimate.memory_bytes:.1e}")  # two digits are more than it knows
    return f"{_duration(estimate.seconds)} and {_size(round(memory)).replace('.0 ', ' ')} of memory"


def _duration(seconds: float) -> str:
    """A guess, in one digit."""
    units = (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0))
    unit, divisor = next((each for each in units if seconds >= 2 * each[1]), ("seconds", 1.0))
    return f"{float(f'{max(seconds / divisor, 1.0):.1g}'):.0f} {unit}"


def when(time: datetime | None) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}" if time else ""

"""Bars for people who wait. They go to the error stream, so that output stays clean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from kdaif_client.types import JobEvent


@contextmanager
def job_bar(title: str, *, shown: bool) -> Iterator[Callable[[JobEvent], None]]:
    """A bar that follows the events of one job: stage, arm and round beside the share that is done."""
    if not shown:
        yield lambda event: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[figures]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        bar.console.print(title, style="dim", markup=False, highlight=False)
        task = bar.add_task("queued", total=1.0, figures="")

        def show(event: JobEvent) -> None:
            if event.progress is not None:
                # Without the message: a line has to hold bar and figures too.
                told = str(replace(event.progress, message="")) or str(event.state)
                bar.update(task, completed=event.progress.fraction, description=told)
            else:
                bar.update(task, description=event.kind)
            if event.kind == "review":
                bar.update(task, description="awaits a review: kdaif resume, or kdaif reject")
            if event.state.is_terminal:
                bar.update(task, description=str(event.state))
                if event.state == "SUCCEEDED":
                    bar.update(task, completed=1.0)
            accuracy = event.metrics.get("validation_accuracy")
            if accuracy is not None:
                bar.update(task, figures=f"validation accuracy {accuracy:.3f}")

        yield show


@contextmanager
def byte_bar(title: str, *, shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar over bytes, told as ``(done, total)``."""
    if not shown:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

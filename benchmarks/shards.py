"""Seconds of one scoring whole, cut into shards for its worker alone, and shared with more: ``make bench-shards``.

A real stack on this machine, whose worker and those beside it have one thread each, so that as many workers as cores
do not stand in each other's way. A scoring is that of a round (`influence_seconds`), the solve and every hash and file
included.

    python -m benchmarks.shards [--rows 200000] [--rows-per-shard 25000] [--workers 2]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
from kdaif_client import Client, Dataset, Job, JobState, Mlp, TrainedTeacher, Training, Weighting

from benchmarks.large import write_labelled, write_rows
from benchmarks.record import write_results
from examples.local_stack import local_stack
from tests.waiting import wait_for

_PARTS = {"labeled": 2000, "validation": 1000, "test": 1000}
_STARTS_WITHIN_S = 30.0


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rows-per-shard", type=int, default=25_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    started_at = datetime.now(UTC)
    os.environ["KDAIF_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="kdaif-shards-") as folder:
        figures = measured(arguments.rows, arguments.rows_per_shard, arguments.workers, Path(folder))
    file = write_results("shards", figures, [], started_at)
    print(json.dumps(figures, indent=1))
    print(f"written to {file}")


def measured(rows: int, rows_per_shard: int, workers: int, folder: Path) -> dict[str, float]:
    """Three jobs, one after the other."""
    pool = write_rows(folder / "pool.parquet", rows, seed=0, labelled=False)
    parts = write_labelled(folder, _PARTS)
    with local_stack(folder / "stack") as target, Client(target) as kdaif:
        server = psutil.Process(int(json.loads((folder / "stack" / "ready.json").read_text())["pid"]))
        given = {name: kdaif.upload_dataset(file, name=name) for name, file in parts.items()}
        given["unlabeled"] = kdaif.upload_dataset(pool, name="pool")
        whole_s = _scoring_s(_submit(kdaif, given, 0))
        alone_s = _scoring_s(_submit(kdaif, given, rows_per_shard))
        job = _submit(kdaif, given, rows_per_shard)
        wait_for(lambda: job.refresh().state is JobState.RUNNING, timeout_s=_STARTS_WITHIN_S)
        with _more_workers(server, workers - 1, folder):
            shared_s = _scoring_s(job)
    return {
        "rows": rows,
        "rows_per_shard": rows_per_shard,
        "workers": workers,
        "whole_s": whole_s,
        "shards_alone_s": alone_s,
        "shards_shared_s": shared_s,
        "speedup": round(whole_s / shared_s, 2),
    }


def _submit(kdaif: Client, given: dict[str, Dataset], rows_per_shard: int) -> Job:
    return kdaif.submit(
        given["labeled"],
        given["unlabeled"],
        validation=given["validation"],
        test=given["test"],
        teacher=TrainedTeacher(architecture=Mlp(hidden_sizes=(64,)), epochs=5),
        student=Mlp(hidden_sizes=(256, 256)),
        training=Training(rounds=1, epochs_per_round=1, batch_size=4096, seeds=1),
        weighting=Weighting(solver="cg", blocks=16, canary_bar=0.0, rows_per_shard=rows_per_shard),
        control_arms=("supervised",),
    )


def _scoring_s(job: Job) -> float:
    job.wait(timeout_s=3600)
    found = [event.metrics["influence_seconds"] for event in job.watch() if "influence_seconds" in event.metrics]
    for event in job.watch():
        if event.progress is not None and "shards" in event.progress.message:
            print(event.progress.message)
    return round(found[0], 1)


@contextlib.contextmanager
def _more_workers(server: psutil.Process, count: int, folder: Path) -> Iterator[None]:
    """Workers beside that of the stack, as it was started."""
    [first] = [child for child in server.children() if "kdaif_worker" in child.cmdline()]
    with contextlib.ExitStack() as running:
        for number in range(count):
            own = {"KDAIF_WORKER_NAME": f"more-{number}", "KDAIF_CACHE_DIR": str(folder / f"more-{number}")}
            log = running.enter_context((folder / f"more-{number}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", "kdaif_worker"], env=first.environ() | own, stdout=log, stderr=log
            )
            running.callback(process.wait)
            running.callback(process.terminate)
        yield


if __name__ == "__main__":
    main()

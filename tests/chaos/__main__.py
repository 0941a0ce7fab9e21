"""``python -m tests.chaos``: runs of the chaos harness by seed; exits nonzero when a promise is broken."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.queue_rate import measure
from benchmarks.record import write_results
from tests.chaos.outcome import Outcome
from tests.chaos.plan import Plan
from tests.chaos.report import figures, findings, page, row, table
from tests.chaos.run import run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help="may be repeated; default 1, 2 and 3")
    parser.add_argument("--cut", action="store_true", help="the minute of it that the test suite runs")
    parser.add_argument("--no-record", action="store_true", help="write no JSON")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page for people there, from the JSON")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the programs' logs there, a folder per seed")
    arguments = parser.parse_args()
    started_at = datetime.now(UTC)
    rate = measure()
    _tell(str(rate))
    plans = [Plan.cut(seed) if arguments.cut else Plan.full(seed) for seed in arguments.seed or (1, 2, 3)]
    outcomes = [_run(plan, arguments.logs) for plan in plans]
    ratio = {"queue_ratio_to_bare": rate.ratio_to_bare, "queue_ratio_to_bare_python": rate.ratio_to_python}
    bare = {f"bare_{name.lower()}_per_s": per_s for name, per_s in rate.bare_writes_per_s.items()}
    rows = [row(outcome) | ratio | {"queue_jobs_per_s": rate.jobs_per_s} | bare for outcome in outcomes]
    sys.stdout.write(f"{table(rows)}\n")
    if not arguments.no_record:
        # The worst of all seeds, so that one number says whether a promise held in every one of them.
        worst = {name: max(figures(outcome)[name] for outcome in outcomes) for name in figures(outcomes[0])}
        fewest = {name: min(figures(outcome)[name] for outcome in outcomes) for name in ("jobs", "faults")}
        file = write_results("chaos", worst | fewest | ratio, rows, started_at)
        if arguments.page is not None:
            arguments.page.write_text(page(json.loads(file.read_text())))
        sys.stdout.write(f"{file}\n")
    if not all(outcome.passed for outcome in outcomes):
        sys.exit("A promise was broken; see above.")


def _run(plan: Plan, logs: Path | None) -> Outcome:
    outcome = run(plan, _tell, logs=logs)
    if not outcome.passed:
        _tell(findings(outcome))
    return outcome


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()

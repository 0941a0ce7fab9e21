"""``python -m tests.chaos``: runs of the chaos harness by seed; exits nonzero when a promise is broken."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.record import write_results
from tests.chaos.plan import Plan
from tests.chaos.report import figures, findings, row, table
from tests.chaos.run import Outcome, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help="may be repeated; default 1, 2 and 3")
    parser.add_argument("--cut", action="store_true", help="the minute of it that the test suite runs")
    parser.add_argument("--no-record", action="store_true", help="write no JSON")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the programs' logs there, a folder per seed")
    arguments = parser.parse_args()
    started_at = datetime.now(UTC)
    plans = [Plan.cut(seed) if arguments.cut else Plan.full(seed) for seed in arguments.seed or (1, 2, 3)]
    outcomes = [_run(plan, arguments.logs) for plan in plans]
    rows = [row(outcome) for outcome in outcomes]
    print(table(rows))
    if not arguments.no_record:
        print(write_results("chaos", figures(outcomes[0]), rows, started_at))
    if not all(outcome.passed for outcome in outcomes):
        sys.exit("A promise was broken; see above.")


def _run(plan: Plan, logs: Path | None) -> Outcome:
    outcome = run(plan, lambda text: print(text, file=sys.stderr, flush=True), logs=logs)
    if not outcome.passed:
        print(findings(outcome), file=sys.stderr, flush=True)
    return outcome


if __name__ == "__main__":
    main()

"""``python -m benchmarks.quality [--quick] [--page FILE]``: run, print the table, write the results."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.quality.cells import CELLS, INFLUENCE_SOURCES, SHARED_SOURCES, digest_of, run_units
from benchmarks.quality.page import main_table, page
from benchmarks.quality.plan import full_plan, quick_plan
from benchmarks.quality.summary import by_condition, figures
from benchmarks.quality.truth import agreement_with_truth
from benchmarks.record import commit, machine, write_results


def main() -> None:
    """Runs the plan and says what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a cut that ends in under ten minutes")
    parser.add_argument("--page", type=Path, help="where to write the page")
    arguments = parser.parse_args()
    started_at = datetime.now(UTC)
    torch.set_num_threads(1)
    cells, left_out = run_units(quick_plan() if arguments.quick else full_plan())
    conditions = by_condition(cells)
    found = figures(conditions, cells, _truth())
    rows = [arm.to_row() for condition in conditions for arm in condition.arms.values()]
    rows += [{"data_set": name, "left_out": reason} for name, reason in left_out.items()]
    file = write_results("quality", found, rows, started_at)
    told = machine()
    text = page(
        conditions,
        found,
        left_out,
        machine=f"{told['cores']} cores of {told['cpu']}",
        commit=commit(),
        quick=arguments.quick,
    )
    if arguments.page is not None:
        arguments.page.parent.mkdir(parents=True, exist_ok=True)
        arguments.page.write_text(text)
    print("\n".join(main_table(conditions)).replace("**", ""))
    print()
    for name, value in found.items():
        print(f"{name:40} {value:.3f}")
    print(f"\nWritten: {file}" + (f", {arguments.page}" if arguments.page is not None else ""))


def _truth() -> dict[str, float]:
    """Kept like any cell."""
    sources = (
        *SHARED_SOURCES,
        *INFLUENCE_SOURCES,
        "benchmarks/quality/truth.py",
        "benchmarks/quality/datamodeling.py",
        "kdaif/records/spec.py",
    )
    file = CELLS / f"truth-{digest_of(sources, '')}.json"
    if not file.is_file():
        file.write_text(json.dumps(agreement_with_truth()))
    kept: dict[str, float] = json.loads(file.read_text())
    return kept


if __name__ == "__main__":
    main()

"""``python -m benchmarks.influence --rivals-python PYTHON``: run, print the table, write the results."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.influence.exact import exact_scores, largest_difference_from_dense
from benchmarks.influence.page import Checked, page, table_lines
from benchmarks.influence.plan import SETTINGS, entries
from benchmarks.influence.retraining import datamodeling_score, losses_after_retraining
from benchmarks.influence.runs import all_runs
from benchmarks.influence.summary import Row, figures, row_of, scores_file
from benchmarks.influence.work import DAMPING, Net, Work, load_work, make_work
from benchmarks.record import commit, machine, write_results


def main() -> None:
    """Runs the plan and says what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.influence", description=__doc__)
    parser.add_argument("--rivals-python", required=True, help="of an environment with influence_requirements.txt")
    parser.add_argument("--net", choices=DAMPING, help="this one alone; both otherwise")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keeps everything, and goes on where an earlier run broke off")
    parser.add_argument("--page", type=Path, help="where to write the page")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    nets: Sequence[Net] = (arguments.net,) if arguments.net else tuple(DAMPING)
    with tempfile.TemporaryDirectory() as temporary:
        _measure(arguments, nets, arguments.folder or Path(temporary))


def _measure(arguments: argparse.Namespace, nets: Sequence[Net], folder: Path) -> None:
    started_at = datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "rows.npz").is_file():
        make_work(folder)
    planned = [entry for net in nets for entry in entries(net)]
    runs = all_runs(planned, arguments.repeats, folder, arguments.rivals_python)
    rows: list[Row] = []
    refusals: dict[str, str] = {}
    checked: list[Checked] = []
    for net in nets:
        work = load_work(folder, net)
        exact = _exact(folder, net, work)
        losses = _losses(folder, work) if net == "mlp" else None
        checked.append(Checked(net, exact["residual"].item(), int(exact["steps"]), exact["difference"].item()))
        for entry in entries(net):
            of_entry = [run for run in runs if run.key == entry.key]
            refused = next((run.refused for run in of_entry if run.refused), "")
            if refused:
                refusals[entry.key] = refused
                continue
            scores = np.load(scores_file(folder, entry))
            lds = None if losses is None else datamodeling_score(scores, losses)
            rows.append(row_of(entry, of_entry, scores, exact["scores"], work.flipped, lds))
    found = figures(rows)
    file = write_results("influence", found, [_flat(row) for row in rows], started_at)
    if arguments.page is not None:
        told = machine()
        text = page(rows, refusals, found, checked, f"{told['cores']} cores of {told['cpu']}", commit())
        arguments.page.write_text(text)
    print("\n".join(table_lines(rows)))
    for name, value in found.items():
        print(f"{name:32} {value:.3f}")
    print(f"\nWritten: {file}" + (f", {arguments.page}" if arguments.page is not None else ""))


def _exact(folder: Path, net: Net, work: Work) -> dict[str, NDArray[np.float64]]:
    file = folder / f"exact_{net}.npz"
    if not file.is_file():
        scores, residual, steps = exact_scores(work)
        difference = largest_difference_from_dense(work)
        np.savez(file, scores=scores, residual=residual, steps=steps, difference=difference)
    with np.load(file) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _losses(folder: Path, work: Work) -> NDArray[np.float64]:
    file = folder / "retrained.npy"
    if not file.is_file():
        np.save(file, losses_after_retraining(work))
    losses: NDArray[np.float64] = np.load(file)
    return losses


def _flat(row: Row) -> dict[str, float | str | None]:
    entry = row.entry
    numbers = {name: value for name, value in vars(row).items() if name != "entry"}
    return {
        "method": entry.method,
        "net": entry.net,
        "steps": entry.steps,
        "settings": SETTINGS[entry.method],
        **numbers,
    }


if __name__ == "__main__":
    main()

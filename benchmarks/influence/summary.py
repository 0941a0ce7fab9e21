"""From runs to rows of the table, and from rows to the figures that are promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from benchmarks.influence.plan import Entry
from benchmarks.influence.runs import Run

TRUE_ENOUGH = 0.95


@dataclass(frozen=True)
class Row:
    """One method on one network: medians over its runs.

    Attributes:
        entry: which.
        cold_s: CPU seconds of the first call in a process.
        warm_s: of the second.
        peak_mib: over what was resident before.
        spearman: to the exact scores.
        auroc: of the flipped labels.
        lds: linear datamodeling score; None where no network was retrained.
        repeats: how many processes.
    """

    entry: Entry
    cold_s: float
    warm_s: float
    peak_mib: float
    spearman: float
    auroc: float
    lds: float | None
    repeats: int


def row_of(
    entry: Entry,
    runs: Sequence[Run],
    scores: NDArray[np.floating],
    exact: NDArray[np.float64],
    flipped: NDArray[np.bool_],
    lds: float | None,
) -> Row:
    """The row of an entry whose runs all scored."""
    return Row(
        entry,
        cold_s=median(run.cold_s for run in runs),
        warm_s=median(run.warm_s for run in runs),
        peak_mib=median(run.peak_mib for run in runs),
        spearman=float(spearmanr(scores, exact).statistic),
        auroc=float(roc_auc_score(flipped, scores)),
        lds=lds,
        repeats=len(runs),
    )


def scores_file(folder: Path, entry: Entry) -> Path:
    """Where `clock` leaves the scores."""
    return folder / f"scores_{entry.method.replace('/', '_')}_{entry.net}_{entry.steps}.npy"


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """The ratios, on second calls. One is missing where no library reaches what it is about, and the page says so.

    curvlinops is counted apart: it has the parts, and its user puts them together.
    """
    found: dict[str, float] = {}
    by_hand, memory = [], []
    for net in ("mlp", "cnn"):
        of_net = [row for row in rows if row.entry.net == net]
        true = [row for row in of_net if row.spearman >= TRUE_ENOUGH]
        ours = fastest([row for row in true if row.entry.ours])
        library = fastest([row for row in true if not row.entry.ours and not _by_hand(row)])
        assembled = fastest([row for row in true if _by_hand(row)])
        kronfluence = next((row for row in of_net if row.entry.method == "kronfluence/ekfac"), None)
        if ours is None:
            continue
        found[f"spearman_{net}"] = ours.spearman
        if library is not None:
            found[f"speedup_at_95_{net}"] = library.warm_s / ours.warm_s
        if assembled is not None:
            by_hand.append(assembled.warm_s / ours.warm_s)
        if kronfluence is not None:
            as_true = fastest([row for row in of_net if row.entry.ours and row.spearman >= kronfluence.spearman])
            if as_true is not None:
                found[f"speedup_vs_kronfluence_{net}"] = kronfluence.warm_s / as_true.warm_s
        memory += [ours.peak_mib / row.peak_mib for row in (library, assembled, kronfluence) if row is not None]
    if by_hand:
        found["speedup_vs_curvlinops_min"] = min(by_hand)
    if memory:
        found["peak_memory_ratio_max"] = max(memory)
    return found


def fastest(rows: Sequence[Row]) -> Row | None:
    """By second calls."""
    return min(rows, key=lambda row: row.warm_s, default=None)


def _by_hand(row: Row) -> bool:
    return row.entry.method.startswith("curvlinops/")

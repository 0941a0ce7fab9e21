"""What the weights did, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.stats import rankdata

INFLUENCE = "val_loss_change_if_upweighted"


@dataclass(frozen=True)
class WeightFacts:
    """Figures of one weights table; those that need the truth are None where it is unknown.

    Attributes:
        rows: weighed rows.
        effective_rows: (sum w)^2 / sum w^2: how many equally weighted rows these are worth.
        harmful_share: share of the rows whose influence is positive.
        known: rows whose truth is known.
        wrong: of these, how many pseudo-labels are wrong.
        mean_weight_wrong: mean weight of the wrong ones; ``mean_weight_right`` of the right ones.
        auroc: probability that a wrong row weighs less than a right one, ties counting half; .5 is a coin.
    """

    rows: int
    effective_rows: float
    harmful_share: float
    known: int
    wrong: int
    mean_weight_wrong: float | None
    mean_weight_right: float | None
    auroc: float | None


def most_harmful(weights: pa.Table, count: int = 10) -> list[dict[str, Any]]:
    """The rows whose upweighting would raise the validation loss most, worst first.

    Args:
        weights: by `kdaif.records.weights_table.weights_schema`.
        count: how many at most.

    Returns:
        The rows of the table as dictionaries. Rows that do not harm (influence of 0 or below) are never among them, so
        there may be fewer than ``count``. Equal influences are ordered by id.
    """
    harmful = weights.filter(pc.and_(pc.is_finite(weights[INFLUENCE]), pc.greater(weights[INFLUENCE], 0.0)))
    order = pc.sort_indices(harmful, sort_keys=[(INFLUENCE, "descending"), ("id", "ascending")])
    rows: list[dict[str, Any]] = harmful.take(order[:count]).to_pylist()
    return rows


def column(weights: pa.Table, name: str) -> NDArray[np.float64]:
    """A numeric column as float64 ``[N]``, null as NaN."""
    values: NDArray[np.float64] = weights[name].to_numpy(zero_copy_only=False).astype(np.float64)
    return values


def wrong_and_right(weights: pa.Table) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pseudo-labels are known to be wrong, and which to be right: bool ``[N]`` each."""
    known = pc.is_valid(weights["truth"])
    same = pc.fill_null(pc.equal(weights["pseudo_label"], weights["truth"]), False).to_numpy(zero_copy_only=False)
    known_mask = known.to_numpy(zero_copy_only=False)
    return known_mask & ~same, known_mask & same


def weight_facts(weights: pa.Table) -> WeightFacts | None:
    """The figures of a weights table, or None for a table without rows."""
    if weights.num_rows == 0:
        return None
    weight, influence = column(weights, "weight"), column(weights, INFLUENCE)
    wrong, right = wrong_and_right(weights)
    squares = float(np.sum(weight**2))
    return WeightFacts(
        rows=len(weight),
        effective_rows=float(np.sum(weight)) ** 2 / squares if squares > 0 else 0.0,
        harmful_share=float(np.mean(influence > 0)),
        known=int(np.sum(wrong | right)),
        wrong=int(np.sum(wrong)),
        mean_weight_wrong=float(weight[wrong].mean()) if wrong.any() else None,
        mean_weight_right=float(weight[right].mean()) if right.any() else None,
        auroc=_auroc(weight[right], weight[wrong]) if wrong.any() and right.any() else None,
    )


def _auroc(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> float:
    """Probability that a value of ``higher`` exceeds one of ``lower``, by rank sums."""
    ranks = rankdata(np.concatenate([higher, lower]))[: len(higher)]
    pairs = len(higher) * len(lower)
    return float((ranks.sum() - len(higher) * (len(higher) + 1) / 2) / pairs)

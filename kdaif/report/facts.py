"""What the weights did, in numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.ranks import average_ranks

INFLUENCE = "val_loss_change_if_upweighted"
MOST_DRAWN_ROWS = 200_000
_HARMFUL = 10


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
        auroc: probability that a wrong row weighs less than a right one, ties counting half; .5 is a coin. Of very many
            rows it is that of `Weighed.drawn`.
    """

    rows: int
    effective_rows: float
    harmful_share: float
    known: int
    wrong: int
    mean_weight_wrong: float | None
    mean_weight_right: float | None
    auroc: float | None


@dataclass(frozen=True, eq=False)
class Weighed:
    """What a report tells of a weights table, which may be larger than memory.

    Attributes:
        facts: of all rows.
        harmful: `most_harmful` of all rows.
        drawn: all rows, or of more than `MOST_DRAWN_ROWS` every so-manieth by id; for the figures.
    """

    facts: WeightFacts
    harmful: list[dict[str, Any]]
    drawn: pa.Table


def weighed(tables: Iterable[pa.Table], num_rows: int) -> Weighed | None:
    """Of one weights table, told run by run; None where it has no row.

    Args:
        tables: its runs, by `kdaif.records.weights_table.weights_schema`.
        num_rows: of all of them.
    """
    sums, drawn, harmful = _Sums(), [], None
    step = max(1, -(-num_rows // MOST_DRAWN_ROWS))
    for table in tables:
        first = -sums.rows % step
        drawn.append(table.take(pa.array(np.arange(first, table.num_rows, step))) if step > 1 else table)
        candidates = table if harmful is None else pa.concat_tables([harmful, table])
        harmful = candidates.take(_most_harmful(candidates, _HARMFUL))
        sums = sums.with_run(table)
    if harmful is None or sums.rows == 0:
        return None
    sample = pa.concat_tables(drawn)
    weight = column(sample, "weight")
    wrong, right = wrong_and_right(sample)
    auroc = _auroc(weight[right], weight[wrong]) if wrong.any() and right.any() else None
    rows: list[dict[str, Any]] = harmful.to_pylist()
    return Weighed(sums.facts(auroc), rows, sample)


def weight_facts(weights: pa.Table) -> WeightFacts | None:
    """The figures of a weights table in memory, or None for a table without rows."""
    found = weighed([weights], weights.num_rows)
    return None if found is None else found.facts


@dataclass(frozen=True)
class _Sums:
    """Over some rows of a weights table."""

    rows: int = 0
    weight: float = 0.0
    squares: float = 0.0
    harmful: int = 0
    wrong: int = 0
    right: int = 0
    weight_wrong: float = 0.0
    weight_right: float = 0.0

    def with_run(self, table: pa.Table) -> _Sums:
        """And over these."""
        weight = column(table, "weight")
        wrong, right = wrong_and_right(table)
        return _Sums(
            rows=self.rows + len(weight),
            weight=self.weight + float(np.sum(weight)),
            squares=self.squares + float(np.sum(weight**2)),
            harmful=self.harmful + int(np.sum(column(table, INFLUENCE) > 0)),
            wrong=self.wrong + int(np.sum(wrong)),
            right=self.right + int(np.sum(right)),
            weight_wrong=self.weight_wrong + float(weight[wrong].sum()),
            weight_right=self.weight_right + float(weight[right].sum()),
        )

    def facts(self, auroc: float | None) -> WeightFacts:
        """The figures, of at least one row."""
        return WeightFacts(
            rows=self.rows,
            effective_rows=self.weight**2 / self.squares if self.squares > 0 else 0.0,
            harmful_share=self.harmful / self.rows,
            known=self.wrong + self.right,
            wrong=self.wrong,
            mean_weight_wrong=self.weight_wrong / self.wrong if self.wrong else None,
            mean_weight_right=self.weight_right / self.right if self.right else None,
            auroc=auroc,
        )


def most_harmful(weights: pa.Table, count: int = _HARMFUL) -> list[dict[str, Any]]:
    """The rows whose upweighting would raise the validation loss most, worst first.

    Args:
        weights: by `kdaif.records.weights_table.weights_schema`.
        count: how many at most.

    Returns:
        The rows of the table as dictionaries. Rows that do not harm (influence of 0 or below) are never among them, so
        there may be fewer than ``count``. Equal influences are ordered by id.
    """
    rows: list[dict[str, Any]] = weights.take(_most_harmful(weights, count)).to_pylist()
    return rows


def _most_harmful(weights: pa.Table, count: int) -> pa.Array:
    """Their places, worst first."""
    influence = weights[INFLUENCE]
    places = pc.indices_nonzero(pc.fill_null(pc.and_(pc.is_finite(influence), pc.greater(influence, 0.0)), False))
    harmful = weights.select([INFLUENCE, "id"]).take(places)
    order = pc.sort_indices(harmful, sort_keys=[(INFLUENCE, "descending"), ("id", "ascending")])
    return places.take(order[:count])


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


def _auroc(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> float:
    """Probability that a value of ``higher`` exceeds one of ``lower``, by rank sums."""
    ranks = average_ranks(np.concatenate([higher, lower]))[: len(higher)]
    pairs = len(higher) * len(lower)
    return float((ranks.sum() - len(higher) * (len(higher) + 1) / 2) / pairs)

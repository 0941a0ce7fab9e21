"""Two tables of weights beside each other."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from kdaif_client.weight_types import WeightChange


def changes(first: pa.Table, second: pa.Table) -> tuple[int, tuple[WeightChange, ...]]:
    """How many samples are in both tables of weights, and those of them that differ, the largest change first."""
    one, two = (_compared(table) for table in (first, second))
    joined = one.join(two, "id", right_suffix="_second", join_type="inner")
    moved = pc.abs(pc.subtract(joined["weight_second"], joined["weight"]))
    differs = pc.or_(pc.greater(moved, 0.0), pc.not_equal(joined["pseudo_label"], joined["pseudo_label_second"]))
    order = [("moved", "descending"), ("id", "ascending")]
    chosen = joined.append_column("moved", moved).filter(differs).sort_by(order)
    names = ("id", "weight", "weight_second", "pseudo_label", "pseudo_label_second")
    rows = zip(*(chosen[name].to_pylist() for name in names), strict=True)
    return joined.num_rows, tuple(WeightChange(*row) for row in rows)


def _compared(table: pa.Table) -> pa.Table:
    columns = [table["id"].cast(pa.string()), table["weight"], table["pseudo_label"]]
    return pa.table(columns, names=["id", "weight", "pseudo_label"])

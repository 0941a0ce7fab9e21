"""One round at a glance: histograms, quantiles, and means by class and group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kdaif.records.provenance import Provenance
from kdaif_server.weights.engine import Engine, quoted
from kdaif_server.weights.filters import Condition
from kdaif_server.weights.shard import Shard

COLUMNS = ("weight", "val_loss_change_if_upweighted", "log_odds", "distillation_loss")
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
LOW_WEIGHT = 0.2
BINS = 30
MOST_NAMES = 200  # of a column; the largest ones


@dataclass(frozen=True)
class ColumnSummary:
    """Of a column of numbers. ``edges`` are those of ``counts``, one more."""

    column: str
    mean: float
    quantiles: tuple[float, ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class NameSummary:
    """Of the rows that have one name in a column: a class or a group. ``name`` is empty where they have none."""

    column: str
    name: str
    rows: int
    mean_weight: float
    mean_influence: float
    low_weight_share: float


@dataclass(frozen=True)
class Summary:
    """Of the rows of a shard that meet a condition."""

    rows: int
    effective_sample_size: float
    columns: tuple[ColumnSummary, ...]
    classes: tuple[NameSummary, ...]
    groups: tuple[NameSummary, ...]
    provenance: Provenance | None


def summarize(engine: Engine, shard: Shard, condition: Condition) -> Summary:
    """Scans the shard, one column at a time."""
    head = engine.table(
        f"SELECT count(*) AS n, sum(weight) AS s, sum(weight::DOUBLE * weight) AS q FROM read_parquet(?) "  # noqa: S608
        f"WHERE {condition.sql}",
        [str(shard.parquet), *condition.parameters],
    ).to_pylist()[0]
    rows = int(head["n"])
    groups = [name for name in shard.schema.names if name.startswith("group_")]
    return Summary(
        rows=rows,
        effective_sample_size=head["s"] ** 2 / head["q"] if head["q"] else 0.0,
        columns=tuple(summarize_column(engine, shard, condition, column) for column in COLUMNS) if rows else (),
        classes=_of_names(engine, shard, condition, "pseudo_label"),
        groups=tuple(each for name in groups for each in _of_names(engine, shard, condition, name)),
        provenance=Provenance.from_metadata(shard.schema.metadata),
    )


def summarize_column(engine: Engine, shard: Shard, condition: Condition, column: str) -> ColumnSummary:
    """Mean, quantiles and histogram of one column of numbers, empty where it holds none."""
    given = [str(shard.parquet), *condition.parameters]
    where = f"FROM read_parquet(?) WHERE {column} IS NOT NULL AND {condition.sql}"
    found = engine.table(
        f"SELECT avg({column}) AS mean, quantile_cont({column}, {list(QUANTILES)}) AS q {where}",
        given,
    ).to_pylist()[0]
    if found["mean"] is None:
        return ColumnSummary(column, 0.0, (), (), ())
    quantiles = tuple(float(value) for value in found["q"])
    edges = _edges(quantiles)
    counts = np.zeros(len(edges) - 1, dtype=np.int64)
    for batch in engine.batches(f"SELECT {column} {where}", given, 65_536):
        values = batch.column(0).to_numpy(zero_copy_only=False)
        counts += np.histogram(np.clip(values, edges[0], edges[-1]), bins=np.asarray(edges))[0]
    return ColumnSummary(column, float(found["mean"]), quantiles, edges, tuple(counts.tolist()))


def _edges(quantiles: tuple[float, ...]) -> tuple[float, ...]:
    """Equal bins between the 1 % and 99 % quantiles, and one at each end for the tails, which may be far out."""
    lowest, low, *_, high, highest = quantiles
    if highest <= lowest:
        return (lowest, lowest + max(abs(lowest), 1.0) * 1e-6)
    inner = np.linspace(low, high, BINS - 1) if high > low else np.array([low])
    return tuple(np.unique(np.concatenate([[lowest], inner, [highest]])).tolist())


def _of_names(engine: Engine, shard: Shard, condition: Condition, column: str) -> tuple[NameSummary, ...]:
    found = engine.table(
        f"SELECT coalesce({quoted(column)}, '') AS name, count(*) AS n, avg(weight) AS w, "  # noqa: S608
        f"avg(val_loss_change_if_upweighted) AS i, avg((weight < {LOW_WEIGHT})::INT) AS low "
        f"FROM read_parquet(?) WHERE {condition.sql} GROUP BY 1 ORDER BY n DESC, name LIMIT {MOST_NAMES}",
        [str(shard.parquet), *condition.parameters],
    )
    return tuple(
        NameSummary(
            column if column.startswith("group_") else "",
            row["name"],
            row["n"],
            row["w"] or 0.0,
            row["i"] or 0.0,
            row["low"] or 0.0,
        )
        for row in found.to_pylist()
    )

"""Which samples weigh something else in another job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kdaif_server.weights.engine import Engine
from kdaif_server.weights.shard import Shard


@dataclass(frozen=True)
class Changes:
    """Between the last weights of two jobs.

    Attributes:
        shared: samples that both weigh; ``only_first`` and ``only_second`` those that one does.
        mean_change: mean of the absolute differences over the shared ones.
        relabelled: shared samples whose pseudo-label differs.
        most: rows of ``id``, ``first``, ``second``, ``first_label``, ``second_label``, the largest change first.
    """

    shared: int
    only_first: int
    only_second: int
    mean_change: float
    relabelled: int
    most: tuple[dict[str, Any], ...]


def weight_changes(engine: Engine, first: Shard, second: Shard, limit: int) -> Changes:
    """Joins two shards by id: a scan of each.

    Args:
        engine: that joins; a join that is larger than its memory spills.
        first: of one job.
        second: of the other.
        limit: how many samples to name.
    """
    files = [str(first.parquet), str(second.parquet)]
    joined = (
        "FROM read_parquet(?) a JOIN read_parquet(?) b ON a.id::VARCHAR = b.id::VARCHAR "
        "WHERE a.weight IS NOT NULL AND b.weight IS NOT NULL"
    )
    head = engine.table(
        "SELECT count(*) AS n, avg(abs(b.weight - a.weight)) AS mean, "  # noqa: S608
        f"count(*) FILTER (WHERE a.pseudo_label IS DISTINCT FROM b.pseudo_label) AS relabelled {joined}",
        files,
    ).to_pylist()[0]
    most = engine.table(
        "SELECT a.id::VARCHAR AS id, a.weight AS first, b.weight AS second, a.pseudo_label AS first_label, "
        f"b.pseudo_label AS second_label {joined} ORDER BY abs(b.weight - a.weight) DESC, 1 LIMIT ?",
        [*files, limit],
    )
    shared = int(head["n"])
    return Changes(
        shared=shared,
        only_first=first.row_count - shared,
        only_second=second.row_count - shared,
        mean_change=head["mean"] or 0.0,
        relabelled=int(head["relabelled"]),
        most=tuple(most.to_pylist()),
    )

"""The explained samples of a job, looked up by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from kdaif.records import AttemptManifest
from kdaif.records.evidence import EvidenceSearch
from kdaif_server.artifacts import Artifacts
from kdaif_server.weights.shard import Shard

NEARLY_THE_SAME = 0.1
"""Of usual rows' distance: rows that a person would take for copies, or for one thing seen twice."""


@dataclass(frozen=True)
class Explained:
    """The explained samples of a job at a glance.

    Attributes:
        samples: how many there are.
        repeated: those that have a row nearly the same.
        worst: those that harm most over all of V, the first most, as rows of `evidence_schema` with text ids.
    """

    samples: int
    repeated: int
    worst: tuple[dict[str, Any], ...]


def at_a_glance(shard: Shard, limit: int) -> Explained:
    """Reads the whole file: some hundred rows, unless the job asked for more."""
    rows = pq.read_table(shard.parquet).to_pylist()
    harmful = sorted((row for row in rows if (row["mean"] or 0) > 0), key=lambda row: -row["mean"])
    repeated = sum(any(each["distance"] < NEARLY_THE_SAME for each in row["neighbours"]) for row in rows)
    return Explained(len(rows), repeated, tuple(row | {"id": str(row["id"])} for row in harmful[:limit]))


def explained_samples(
    artifacts: Artifacts, manifest: AttemptManifest, ids: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str], EvidenceSearch | None]:
    """Those of the samples that are explained, in this order; the ids of the others; and how samples were explained.

    Raises:
        InvalidInputError: the ids of this job are numbers and some of these are not.
        DataCorruptedError: the stored bytes do not have their hash.
    """
    found = artifacts.evidence(manifest)
    if found is None:
        return [], list(ids), None
    search, shard = found
    rows, missing = shard.known_rows_of(ids)
    return [row | {"id": str(row["id"])} for row in rows.to_pylist()], missing, search

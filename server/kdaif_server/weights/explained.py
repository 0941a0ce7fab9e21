"""The explained samples of a job, looked up by id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdaif.records import AttemptManifest
from kdaif.records.evidence import EvidenceSearch
from kdaif_server.artifacts import Artifacts


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

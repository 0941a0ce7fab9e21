"""Explains some samples at the end of the arm that made the weights, and writes what it found beside them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from kdaif.datasets import DistillationData, Rows
from kdaif.records import DistillationSpec
from kdaif.records.evidence import Chosen, EvidenceSearch, evidence_schema
from kdaif.rounds import ArmState, Evidence, evidence_of
from kdaif.scratch import Scratch
from kdaif.teachers import SoftTargets
from kdaif_worker.row_places import places_of

_BATCH_ROWS = 2**18
_COLUMNS = ["id", "val_loss_change_if_upweighted", "pseudo_label"]


def explained(
    shard: IO[bytes],
    state: ArmState,
    data: DistillationData,
    targets: SoftTargets,
    spec: DistillationSpec,
    *,
    device: torch.device,
    scratch: Scratch,
) -> pa.Table | None:
    """A table of `evidence_schema`, within the job's ``explain_seconds``; None where there is nothing to explain.

    Args:
        shard: the last weights, which say whom to explain.
        state: of the end of their arm.
        data: of the job.
        targets: of its U.
        spec: the job.
        device: where to compute.
        scratch: of the rows.

    Raises:
        ValueError: the student does not end in a Linear layer.
        torch.linalg.LinAlgError: its curvature is not finite.
    """
    monitoring = spec.monitoring
    if monitoring.explain_seconds == 0:
        return None
    started = time.monotonic()
    chosen = chosen_rows(shard, data, spec, scratch)
    if not chosen:
        return None
    left_s = max(0.0, monitoring.explain_seconds - (time.monotonic() - started))
    places = np.array(list(chosen), dtype=np.int64)
    found = evidence_of(state, data, targets, places, spec, device=device, budget_s=left_s, scratch=scratch)
    table, search = _table(found, chosen, data, targets, monitoring.explain_seconds, scratch)
    seconds = time.monotonic() - started
    return table.replace_schema_metadata(replace(search, seconds=seconds).metadata())


def chosen_rows(
    shard: IO[bytes], data: DistillationData, spec: DistillationSpec, scratch: Scratch
) -> dict[int, Chosen]:
    """Why each chosen row is, by its place in U, the most wanted first.

    Those that were asked for, then overridden ones up to half of ``explained_rows``, then of each class the most
    harmful and the most helpful ones.
    """
    monitoring, ids = spec.monitoring, data.unlabeled.ids
    wanted = _as_ids(monitoring.explain_ids, ids)
    found: dict[int, Chosen] = dict.fromkeys(places_of(ids, wanted, scratch).values(), "asked") if wanted else {}
    for place in _overridden(data, monitoring.explained_rows // 2, scratch):
        found.setdefault(place, "overridden")
    ranked = _extremes(shard, data.class_names, monitoring.explained_rows)
    of_ids = places_of(ids, [row for row, _ in ranked], scratch) if ranked else {}
    most = len(monitoring.explain_ids) + monitoring.explained_rows
    for row, why in ranked:
        if len(found) < most:
            found.setdefault(of_ids[row], why)
    return found


def _as_ids(given: Sequence[str], ids: Any) -> list[Any]:
    if not isinstance(ids, np.ndarray) or not np.issubdtype(ids.dtype, np.integer):
        return list(given)
    return [int(each) for each in given if each.removeprefix("-").isdecimal()]


def _overridden(data: DistillationData, most: int, scratch: Scratch) -> list[int]:
    overrides = data.unlabeled.weight_override
    found: list[int] = []
    if overrides is not None:
        for rows in scratch.slabs(len(overrides), 16):
            if len(found) < most:
                found += (rows.start + np.flatnonzero(~np.isnan(overrides[rows]))).tolist()
    return found[:most]


def _extremes(shard: IO[bytes], class_names: Sequence[str], most: int) -> list[tuple[Any, Chosen]]:
    """Ids of the rows of each class that harm and that help most, in turns, the most extreme ones first."""
    if most == 0:
        return []
    # Four times its share of a class, for there may be fewer of another.
    of_each = min(most, -(-2 * most // len(class_names)))
    kept: dict[tuple[str, Chosen], list[tuple[float, Any]]] = {}
    with pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=_COLUMNS):
            ids, influence, labels = (batch.column(name) for name in _COLUMNS)
            harm = influence.to_numpy(zero_copy_only=False).astype(np.float64)
            encoded = labels.dictionary_encode()
            codes = encoded.indices.to_numpy(zero_copy_only=False)
            for code, label in enumerate(encoded.dictionary.to_pylist()):
                members = np.flatnonzero((codes == code) & np.isfinite(harm))
                for why, size in _signed(harm[members]):
                    order = _largest(size, of_each)
                    found = [(size[at], ids[int(members[at])].as_py()) for at in order if size[at] > 0]
                    both = kept.get((label, why), []) + found
                    kept[label, why] = sorted(both, key=lambda each: -each[0])[:of_each]
    ranks = max((len(each) for each in kept.values()), default=0)
    return [
        (rows[rank][1], why) for rank in range(ranks) for (_, why), rows in sorted(kept.items()) if rank < len(rows)
    ]


def _largest(values: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Places of the largest ones, the largest first; of equal ones at the cut, any."""
    some = np.arange(len(values)) if len(values) <= most else np.argpartition(-values, most - 1)[:most]
    return some[np.argsort(-values[some], kind="stable")]


def _signed(harm: NDArray[np.float64]) -> tuple[tuple[Chosen, NDArray[np.float64]], ...]:
    return ("harmful", harm), ("helpful", -harm)


def _table(
    found: Evidence,
    chosen: dict[int, Chosen],
    data: DistillationData,
    targets: SoftTargets,
    budget_s: float,
    scratch: Scratch,
) -> tuple[pa.Table, EvidenceSearch]:
    places = list(chosen)
    ids = [_id(data.unlabeled, place) for place in places]
    means: list[float | None] = [float(mean) for run in found.pairs for mean in run.mean]
    missing = len(places) - len(means)
    helped = [_pairs(row, by, data) for run in found.pairs for row, by in zip(run.helped, run.helped_by, strict=True)]
    harmed = [_pairs(row, by, data) for run in found.pairs for row, by in zip(run.harmed, run.harmed_by, strict=True)]
    columns = {
        "id": ids,
        "chosen": list(chosen.values()),
        "mean": means + [None] * missing,
        "helped": [[each for each in row if each["loss_change"] < 0] for row in helped] + [[]] * missing,
        "harmed": [[each for each in row if each["loss_change"] > 0] for row in harmed] + [[]] * missing,
        "neighbours": [
            list(_neighbours(row, distances, data, targets, scratch))
            for row, distances in zip(found.nearest.places, found.nearest.distances, strict=True)
        ],
    }
    search = EvidenceSearch(
        samples=len(places),
        validation_rows=len(data.validation),
        searched_rows=found.nearest.searched,
        pool_rows=len(data.labeled) + len(data.unlabeled),
        seconds=found.seconds,
        budget_s=budget_s,
        damping=found.damping,
    )
    schema = evidence_schema(pa.int64() if isinstance(ids[0], int) else pa.string())
    table = pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names})
    return table.sort_by("id"), search


def _id(rows: Rows, place: int) -> Any:
    found = rows.ids[place]
    return int(found) if isinstance(found, np.integer) else found


def _pairs(rows: NDArray[np.int64], by: NDArray[np.float64], data: DistillationData) -> list[dict[str, Any]]:
    held_out = data.validation
    return [
        {
            "id": str(_id(held_out, int(row))),
            "label": data.class_names[int(held_out.labels[row])],
            "loss_change": float(change),
        }
        for row, change in zip(rows, by, strict=True)
    ]


def _neighbours(
    places: NDArray[np.int64],
    distances: NDArray[np.float64],
    data: DistillationData,
    targets: SoftTargets,
    scratch: Scratch,
) -> Iterator[dict[str, Any]]:
    of_pool = places[places >= len(data.labeled)] - len(data.labeled)
    heard = iter(scratch.take(targets.logits, of_pool).argmax(axis=1).tolist())
    known: Iterable[tuple[int, float]] = zip(places.tolist(), distances.tolist(), strict=True)
    for place, distance in known:
        if place < 0:
            continue
        own = place - len(data.labeled)
        is_labeled = own < 0
        label = data.labeled.labels[place] if is_labeled else next(heard)
        yield {
            "dataset": "labeled" if is_labeled else "unlabeled",
            "id": str(_id(data.labeled, place) if is_labeled else _id(data.unlabeled, own)),
            "label": data.class_names[int(label)],
            "distance": distance,
        }

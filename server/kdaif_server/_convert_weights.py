"""Between the messages of the weight service and records and Arrow tables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from google.protobuf.timestamp_pb2 import Timestamp
from kdaif_proto.v1 import weights_pb2 as pb

from kdaif.errors import InvalidInputError
from kdaif.records.evidence import EvidenceSearch
from kdaif.records.overrides import Override, OverrideRevision
from kdaif.records.provenance import Provenance
from kdaif_server.weights.summary import ColumnSummary, NameSummary, Summary

_GROUP = "group_"


def columns(table: pa.Table, round_number: int) -> pb.SampleWeights:
    """Rows of a shard, columnar."""
    plain = [name for name in table.column_names if name not in ("id", "round") and not name.startswith(_GROUP)]
    values = {name: table.column(name).to_pylist() for name in plain}
    truth = values.pop("truth")
    overrides = values.pop("weight_override", [])  # shards of old jobs have none
    groups = [name for name in table.column_names if name.startswith(_GROUP)]
    return pb.SampleWeights(
        round=round_number,
        ids=table.column("id").cast(pa.string()).to_pylist(),
        truth=[name or "" for name in truth] if any(truth) else [],
        weight_override=_or_nan(overrides),
        groups={name: pb.GroupValues(values=table.column(name).fill_null("").to_pylist()) for name in groups},
        **values,
    )


def _or_nan(overrides: list[float | None]) -> list[float]:
    """NaN for none; nothing at all where no row of the page has one."""
    if all(value is None for value in overrides):
        return []
    return [math.nan if value is None else value for value in overrides]


def summary(found: Summary, round_number: int) -> pb.SummarizeWeightsResponse:
    """A round at a glance."""
    reliability = found.provenance.reliability if found.provenance else None
    return pb.SummarizeWeightsResponse(
        round=round_number,
        rows=found.rows,
        effective_sample_size=found.effective_sample_size,
        columns=[_column(each) for each in found.columns],
        classes=[_name(each) for each in found.classes],
        groups=[_name(each) for each in found.groups],
        provenance=None if found.provenance is None else _provenance(found.provenance),
        **({} if reliability is None else {"reliability": reliability}),
    )


def _column(found: ColumnSummary) -> pb.SummarizeWeightsResponse.ColumnSummary:
    return pb.SummarizeWeightsResponse.ColumnSummary(
        column=found.column, mean=found.mean, quantiles=found.quantiles, edges=found.edges, counts=found.counts
    )


def _name(found: NameSummary) -> pb.SummarizeWeightsResponse.NameSummary:
    return pb.SummarizeWeightsResponse.NameSummary(
        column=found.column,
        name=found.name,
        rows=found.rows,
        mean_weight=found.mean_weight,
        mean_val_loss_change_if_upweighted=found.mean_influence,
        low_weight_share=found.low_weight_share,
    )


def _provenance(found: Provenance) -> pb.Provenance:
    return pb.Provenance(
        job=found.job,
        attempt=found.attempt,
        round=found.round,
        blocks=found.blocks,
        solver=found.solver,
        damping=found.damping or 0.0,
        seed=found.seed,
        version=found.version,
        teacher_trust=found.teacher_trust,
        least_sureness=found.least_sureness,
    )


def overrides_from(messages: Iterable[pb.Override]) -> tuple[Override, ...]:
    """Raises InvalidInputError naming the place of what decides nothing."""
    return tuple(_override(message, place) for place, message in enumerate(messages))


def _override(message: pb.Override, place: int) -> Override:
    decision: Any = message.WhichOneof("decision")
    match decision:
        case "pin":
            return Override(message.id, "pin", weight=message.pin)
        case "relabel":
            return Override(message.id, "relabel", class_name=message.relabel)
        case "ban" | "clear" if getattr(message, decision):
            return Override(message.id, decision)
        case _:
            raise InvalidInputError.of(
                f"overrides[{place}]", f"decides nothing on {message.id!r}; set pin, ban, relabel or clear"
            )


def revision(found: OverrideRevision) -> pb.OverrideRevision:
    """One entry of the record."""
    time = Timestamp()
    time.FromMilliseconds(found.time_ms)
    return pb.OverrideRevision(
        revision=found.revision,
        author=found.author,
        reason=found.reason,
        time=time,
        overrides=[_to_override(each) for each in found.overrides],
    )


def explanations(
    samples: Iterable[dict[str, Any]],
    unexplained: Iterable[str],
    search: EvidenceSearch | None,
    made_by: Provenance | None,
) -> pb.ExplainSamplesResponse:
    """Rows of `evidence_schema`, how they came about, and what made the last weights."""
    return pb.ExplainSamplesResponse(
        samples=[
            pb.SampleEvidence(
                id=row["id"],
                chosen=row["chosen"],
                mean=row["mean"],
                helped=[pb.PairInfluence(**pair) for pair in row["helped"]],
                harmed=[pb.PairInfluence(**pair) for pair in row["harmed"]],
                neighbours=[pb.Neighbour(**each) for each in row["neighbours"]],
            )
            for row in samples
        ],
        unexplained=unexplained,
        search=None if search is None else pb.EvidenceSearch(**asdict(search)),
        provenance=None if made_by is None else _provenance(made_by),
    )


def _to_override(found: Override) -> pb.Override:
    match found.decision:
        case "pin":
            return pb.Override(id=found.id, pin=found.weight or 0.0)
        case "relabel":
            return pb.Override(id=found.id, relabel=found.class_name or "")
        case "ban":
            return pb.Override(id=found.id, ban=True)
        case "clear":
            return pb.Override(id=found.id, clear=True)

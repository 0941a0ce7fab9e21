"""Between the messages of the weight service and the types of the SDK."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace

from kdaif_proto.v1 import weights_pb2 as pb

from kdaif_client._convert import time_of
from kdaif_client.errors import InvalidArgument
from kdaif_client.evidence_types import Evidence, EvidenceSearch, Neighbour, PairInfluence
from kdaif_client.weight_types import (
    ColumnSummary,
    NameSummary,
    Override,
    OverrideRevision,
    Provenance,
    SampleWeight,
    WeightSummary,
)

_COLUMNS = (
    "weight",
    "val_loss_change_if_upweighted",
    "stderr",
    "z_influence",
    "z_agreement",
    "log_odds",
    "pseudo_label",
    "teacher_confidence",
    "student_label",
    "student_confidence",
    "distillation_loss",
)


def weights(page: pb.SampleWeights) -> Iterator[SampleWeight]:
    """The rows of a columnar page."""
    columns = [getattr(page, name) for name in _COLUMNS]
    truth = [name or None for name in page.truth] or [None] * len(page.ids)
    overrides = [None if math.isnan(value) else value for value in page.weight_override] or [None] * len(page.ids)
    names = sorted(page.groups)
    groups = list(zip(*(page.groups[name].values for name in names), strict=True)) or [()] * len(page.ids)
    for sample_id, *values, of_groups in zip(page.ids, *columns, truth, overrides, groups, strict=True):
        found = {name: value or None for name, value in zip(names, of_groups, strict=True)}
        yield replace(SampleWeight(sample_id, page.round, *values), groups=found)


def summary(message: pb.SummarizeWeightsResponse) -> WeightSummary:
    """A round at a glance."""
    return WeightSummary(
        round=message.round,
        rows=message.rows,
        effective_sample_size=message.effective_sample_size,
        reliability=message.reliability if message.HasField("reliability") else None,
        columns={
            each.column: ColumnSummary(
                each.column, each.mean, tuple(each.quantiles), tuple(each.edges), tuple(each.counts)
            )
            for each in message.columns
        },
        classes=tuple(_name(each) for each in message.classes),
        groups=tuple(_name(each) for each in message.groups),
        provenance=_provenance(message.provenance) if message.HasField("provenance") else None,
    )


def _name(message: pb.SummarizeWeightsResponse.NameSummary) -> NameSummary:
    return NameSummary(
        column=message.column,
        name=message.name,
        rows=message.rows,
        mean_weight=message.mean_weight,
        mean_val_loss_change_if_upweighted=message.mean_val_loss_change_if_upweighted,
        low_weight_share=message.low_weight_share,
    )


def _provenance(message: pb.Provenance) -> Provenance:
    return Provenance(
        job=message.job,
        attempt=message.attempt,
        round=message.round,
        blocks=message.blocks,
        solver=message.solver,
        damping=message.damping,
        seed=message.seed,
        version=message.version,
        teacher_trust=message.teacher_trust if message.HasField("teacher_trust") else None,
        least_sureness=message.least_sureness if message.HasField("least_sureness") else None,
    )


def evidence(message: pb.ExplainSamplesResponse) -> tuple[Evidence, Provenance | None]:
    """Of one sample that was asked about; and what made the last weights."""
    return _evidence(message), _provenance(message.provenance) if message.HasField("provenance") else None


def _evidence(message: pb.ExplainSamplesResponse) -> Evidence:
    search = EvidenceSearch(*(getattr(message.search, field.name) for field in fields(EvidenceSearch)))
    known = search if message.HasField("search") else None
    if not message.samples:
        return Evidence(search=known)
    (found,) = message.samples
    return Evidence(
        chosen=found.chosen,
        mean=found.mean if found.HasField("mean") else None,
        helped=tuple(PairInfluence(each.id, each.label, each.loss_change) for each in found.helped),
        harmed=tuple(PairInfluence(each.id, each.label, each.loss_change) for each in found.harmed),
        neighbours=tuple(Neighbour(each.dataset, each.id, each.label, each.distance) for each in found.neighbours),
        search=known,
    )


def decisions(
    pin: Mapping[str | int, float],
    ban: Sequence[str | int],
    relabel: Mapping[str | int, str],
    clear: Sequence[str | int],
) -> list[pb.Override]:
    """One message for each sample. Raises InvalidArgument for a sample that is decided on twice."""
    found = [pb.Override(id=str(sample), pin=weight) for sample, weight in pin.items()]
    found += [pb.Override(id=str(sample), ban=True) for sample in ban]
    found += [pb.Override(id=str(sample), relabel=name) for sample, name in relabel.items()]
    found += [pb.Override(id=str(sample), clear=True) for sample in clear]
    ids = [each.id for each in found]
    if twice := sorted({sample for sample in ids if ids.count(sample) > 1}):
        raise InvalidArgument.of("overrides", f"decide more than once on {', '.join(twice[:10])}; decide once")
    return found


def revision(message: pb.OverrideRevision) -> OverrideRevision:
    """One entry of the record."""
    return OverrideRevision(
        revision=message.revision,
        author=message.author,
        reason=message.reason,
        time=time_of(message, "time"),
        overrides=tuple(_override(each) for each in message.overrides),
    )


def _override(message: pb.Override) -> Override:
    decision = message.WhichOneof("decision") or ""
    return Override(
        id=message.id,
        decision=decision,
        weight=message.pin if decision == "pin" else None,
        class_name=message.relabel if decision == "relabel" else None,
    )

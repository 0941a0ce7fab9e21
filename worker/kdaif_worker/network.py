"""The network of a student that was left to us, chosen once per job: a later attempt, maybe elsewhere, keeps it."""

from __future__ import annotations

from dataclasses import replace

from pydantic import TypeAdapter

from kdaif.datasets import DistillationData
from kdaif.export import largest_within, require_within
from kdaif.records import Architecture, Auto
from kdaif.store import BlobStore, attempts_with_blobs, layout
from kdaif.students import network_of
from kdaif_worker.messages import Assignment

_REFERENCE_ROWS = 1000
_NETWORK: TypeAdapter[Architecture] = TypeAdapter(Architecture)


def with_network(assignment: Assignment, data: DistillationData, blobs: BlobStore) -> Assignment:
    """The assignment whose spec names the network in place of `Auto`; one that names it already as it is.

    With a budget in milliseconds the choice depends on the machine, so it is kept for later attempts.

    Raises:
        InvalidInputError: no network is within the budget, or the one that is named is not.
    """
    spec = assignment.spec
    if not isinstance(spec.student, Auto):
        rows = data.labeled.features[:_REFERENCE_ROWS]
        require_within(spec.student, spec.export, data.signature, len(data.class_names), rows)
        return assignment
    network = _chosen(assignment, spec.student, data, blobs)
    return replace(assignment, spec=spec.model_copy(update={"student": network}))


def _chosen(assignment: Assignment, wanted: Auto, data: DistillationData, blobs: BlobStore) -> Architecture:
    if wanted.max_kb is None and wanted.max_ms is None:
        return network_of(wanted, data.signature)
    job = (assignment.tenant, assignment.job_id)
    for attempt in attempts_with_blobs(blobs, *job, assignment.attempt):
        path = layout.network(*job, attempt)
        if blobs.exists(path):
            return _NETWORK.validate_json(blobs.get_bytes(path))
    # Neither size nor time depends on the values.
    rows = data.labeled.features[:_REFERENCE_ROWS]
    network = largest_within(wanted, data.signature, len(data.class_names), rows).network
    blobs.put_bytes(layout.network(*job, assignment.attempt), _NETWORK.dump_json(network))
    return network

"""Jobs whose data are fine and that could never run: what a worker would find out only once it is at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kdaif.datasets.examine import Examined
from kdaif.datasets.findings import Findings
from kdaif.datasets.network_size import network_size
from kdaif.datasets.onnx_input import plan_input
from kdaif.datasets.parameter_shapes import check_initial_weights
from kdaif.datasets.transformer_input import check_transformer
from kdaif.errors import InvalidInputError
from kdaif.records import (
    Auto,
    DistillationSpec,
    EnsembleTeacher,
    ModelSignature,
    OnnxSignature,
    OnnxTeacher,
    SafetensorsSignature,
    TrainedTeacher,
    TransformerSignature,
    TransformerTeacher,
    ladder,
)

_BYTES_PER_PARAMETER = 4
# The exporter's file of the smallest network there is has 1,064 bytes.
_SMALLEST_FILE_KB = 1.0
# The file holds each parameter as four bytes, but for the few of BatchNorm that the exporter folds into others.
SMALLEST_SHARE = 0.8
# Pictures of odd sizes are averaged down to a grid of half the side that `network_size` counts with.
_SURE_SHARE = {"numeric": 1.0, "text": 1.0, "image": 0.25}


def check_feasible(
    spec: DistillationSpec, data: Examined, models: Mapping[str, ModelSignature], findings: Findings
) -> None:
    """Refuses teachers that cannot be asked about these rows, budgets that nothing fits, and weights of other networks.

    Args:
        spec: the job.
        data: its rows, texts among them not yet encoded.
        models: of each role that is a model, what its file says of itself.
        findings: receives what is wrong.
    """
    with _told(findings, "NO_NETWORK_FITS"):
        _check_budget(spec, data)
    single = not isinstance(spec.teacher.source, EnsembleTeacher)
    for position in range(len(spec.teacher.members)):
        model = models.get("teacher" if single else f"teacher_{position}")
        with _told(findings, "TEACHER_CANNOT_RUN"):
            _check_member(spec, position, model, data)
    weights = models.get("initial_weights")
    if isinstance(weights, SafetensorsSignature):
        with _told(findings, "OTHER_INITIAL_WEIGHTS"):
            check_initial_weights(weights, spec.student, data.signature, len(data.class_names))


def require_rows_for_folds(rows: int, folds: int, field: str) -> None:
    """Raises InvalidInputError where there are fewer than two labelled rows for each fold."""
    if rows < 2 * folds:
        raise InvalidInputError.of(
            field, f"is {folds}, and there are {rows} labelled rows to train on; give two or more for each fold"
        )


def _check_member(spec: DistillationSpec, position: int, model: ModelSignature | None, data: Examined) -> None:
    member, field = spec.teacher.members[position], spec.teacher.member_field(position)
    if isinstance(member, TransformerTeacher):
        known = model if isinstance(model, TransformerSignature) else None
        check_transformer(member, known, data.signature, field)
    if isinstance(member, OnnxTeacher) and isinstance(model, OnnxSignature):
        plan_input(member, model, data.signature, len(data.class_names), field)
    if isinstance(member, TrainedTeacher | TransformerTeacher) and member.folds > 1:
        require_rows_for_folds(len(data.places["labeled"].rows), member.folds, f"{field}.folds")


def _check_budget(spec: DistillationSpec, data: Examined) -> None:
    """A bound from below: which networks fit, the worker finds out by drawing them."""
    if not isinstance(spec.student, Auto) or spec.student.max_kb is None:
        return
    sizes = [
        # No tokenizer is trained yet, and its smallest vocabulary is not known.
        network_size(network, data.signature, len(data.class_names), vocabulary=2).parameters
        for network in ladder(data.signature.kind)
    ]
    sure = SMALLEST_SHARE * _SURE_SHARE[data.signature.kind] * _BYTES_PER_PARAMETER * min(sizes) / 1000
    needed_kb = max(_SMALLEST_FILE_KB, sure)
    if spec.student.max_kb < needed_kb:
        raise InvalidInputError.of(
            "spec.student.auto.max_kb",
            f"is {spec.student.max_kb:g}, and the smallest network for these rows takes {needed_kb:.3g} kB or more; "
            "raise it",
        )


@contextmanager
def _told(findings: Findings, code: str) -> Iterator[None]:
    try:
        yield
    except InvalidInputError as error:
        for violation in error.violations:
            findings.refuse(code, violation.field, violation.description)

"""A model file of the user's own as the teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets import DistillationData, Rows
from kdaif.datasets.onnx_input import InputPlan, plan_input
from kdaif.errors import InvalidInputError
from kdaif.model_files import inspect_onnx
from kdaif.records.teachers import OnnxTeacher
from kdaif.scratch import Scratch
from kdaif.teachers.onnx_sandbox import Limits, Question, run_in_sandbox
from kdaif.teachers.outputs import TeacherOutputs, asked_parts, ids_at, split_parts
from kdaif.teachers.remembered import Remember, output_key

# As for columns: far below what any teacher can tell from 0, whose logarithm is not finite.
_SMALLEST_PROBABILITY = 1e-12
_SUM_TOLERANCE = 1e-3


def onnx_outputs(
    source: OnnxTeacher,
    data: DistillationData,
    model: Path,
    field: str,
    remember: Remember,
    scratch: Scratch | None = None,
) -> TeacherOutputs:
    """Asks the model about every part, in a sandbox, and binds its columns to the class names of the job.

    Args:
        source: names, kind of the outputs, layout, scale and limits.
        data: the rows.
        model: the file.
        field: where ``source`` stands in the request.
        remember: keeps the outputs by model, rows and options; a limit is none of these.
        scratch: of the rows and the outputs; None where they are in memory.

    Raises:
        InvalidInputError: the file is refused by `inspect_onnx`; does not fit the rows or the classes; fails; takes too
            long; or says what is not of the declared kind.
        OutOfMemoryError: it needs more memory than it may have.
    """
    if set(source.class_names) != set(data.class_names):
        raise InvalidInputError.of(
            f"{field}.class_names", f"must be the classes of the job in the order of the outputs: {data.class_names}"
        )
    try:
        signature = inspect_onnx(model)
    except InvalidInputError as error:
        raise InvalidInputError.of(f"{field}.model", error.violations[0].description) from error
    plan = plan_input(source, signature, data.signature, len(data.class_names), field)
    parts = asked_parts(data)
    features = [rows.features for rows in parts.values()]
    question = Question(
        plan.input,
        plan.output,
        plan.dtype,
        plan.shape,
        plan.batch,
        plan.fixed,
        rows=sum(map(len, features)),
        classes=len(data.class_names),
    )
    limits = Limits(source.max_memory_mib, source.max_seconds)
    room = Scratch() if scratch is None else scratch
    said = remember(
        output_key(model, features, {"kind": "onnx", **dataclasses.asdict(plan)}, room),
        lambda: run_in_sandbox(model, question, _batches(features, plan, room), limits, field, room),
    )
    order = [source.class_names.index(name) for name in data.class_names]
    return TeacherOutputs.of_parts(split_parts(_checked(source, said, order, parts, field, room), parts))


def _batches(features: list[NDArray[Any]], plan: InputPlan, scratch: Scratch) -> Iterator[NDArray[Any]]:
    for part in features:
        for slab in scratch.slabs(len(part), part[:1].nbytes):
            for start in range(slab.start, slab.stop, plan.batch):
                yield plan.convert(part[start : min(start + plan.batch, slab.stop)])


def _checked(
    source: OnnxTeacher,
    said: NDArray[np.float32],
    order: list[int],
    parts: Mapping[str, Rows],
    field: str,
    scratch: Scratch,
) -> NDArray[np.float32]:
    """Logits in the ``order`` of the job's classes; refused where they are not finite, or not what was declared."""
    bad, normal = (np.empty(len(said), dtype=np.bool_) for _ in range(2))
    logits: NDArray[np.float32] = scratch.empty(said.shape, np.float32)
    for rows in scratch.slabs(len(said), 6 * 4 * said.shape[1]):
        some = said[rows]
        bad[rows] = ~np.isfinite(some).all(axis=1)
        with np.errstate(invalid="ignore"):  # of infinities, which are refused below
            normal[rows] = (some >= 0).all(axis=1) & (np.abs(some.sum(axis=1, dtype=np.float64) - 1) <= _SUM_TOLERANCE)
        if source.outputs == "probabilities":
            some = np.log(np.maximum(some, np.float32(_SMALLEST_PROBABILITY)))
        logits[rows] = some[:, order]
    _refuse(bad, parts, f"{field}.model", "gives NaN or infinity; mend the model")
    if source.outputs == "logits":
        if normal.all():
            raise InvalidInputError.of(
                f"{field}.outputs",
                "every output row is non-negative and sums to 1, so softmax would be applied twice; declare "
                "'probabilities', or name the output that holds logits",
            )
    else:
        why = "gives no probabilities (negative, or not summing to 1); declare 'logits'"
        _refuse(~normal, parts, f"{field}.outputs", why)
    return logits


def _refuse(bad: NDArray[np.bool_], parts: Mapping[str, Rows], field: str, why: str) -> None:
    if bad.any():
        named = ", ".join(ids_at(np.flatnonzero(bad)[:10], parts))
        raise InvalidInputError.of(field, f"the model {why} ({int(bad.sum())} of {len(bad)} rows, ids {named})")

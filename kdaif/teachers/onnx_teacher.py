"""A model file of the user's own as the teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets import DistillationData
from kdaif.datasets.onnx_input import InputPlan, plan_input
from kdaif.errors import InvalidInputError
from kdaif.model_files import inspect_onnx
from kdaif.records.teachers import OnnxTeacher
from kdaif.teachers.onnx_sandbox import Limits, Question, run_in_sandbox
from kdaif.teachers.outputs import TeacherOutputs, asked_parts, split_parts
from kdaif.teachers.remembered import Remember, output_key

# As for columns: far below what any teacher can tell from 0, whose logarithm is not finite.
_SMALLEST_PROBABILITY = 1e-12
_SUM_TOLERANCE = 1e-3


def onnx_outputs(
    source: OnnxTeacher, data: DistillationData, model: Path, field: str, remember: Remember
) -> TeacherOutputs:
    """Asks the model about every part, in a sandbox, and binds its columns to the class names of the job.

    Args:
        source: names, kind of the outputs, layout, scale and limits.
        data: the rows.
        model: the file.
        field: where ``source`` stands in the request.
        remember: keeps the outputs by model, rows and options; a limit is none of these.

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
    said = remember(
        output_key(model, features, {"kind": "onnx", **dataclasses.asdict(plan)}),
        lambda: run_in_sandbox(model, question, _batches(features, plan), limits, field),
    )
    ids = np.concatenate([np.asarray(rows.ids, dtype=object) for rows in parts.values()])
    logits = _checked(source, said, ids, field)
    order = [source.class_names.index(name) for name in data.class_names]
    return TeacherOutputs.of_parts(split_parts(np.ascontiguousarray(logits[:, order]), parts))


def _batches(features: list[NDArray[Any]], plan: InputPlan) -> Iterator[NDArray[Any]]:
    for part in features:
        for start in range(0, len(part), plan.batch):
            yield plan.convert(part[start : start + plan.batch])


def _checked(source: OnnxTeacher, said: NDArray[np.float32], ids: NDArray[Any], field: str) -> NDArray[np.float32]:
    """The outputs as logits; refused where they are not finite, or not what they were declared to be."""
    _refuse(np.asarray(~np.isfinite(said).all(axis=1)), ids, f"{field}.model", "gives NaN or infinity; mend the model")
    normal = (said >= 0).all(axis=1) & (np.abs(said.sum(axis=1, dtype=np.float64) - 1) <= _SUM_TOLERANCE)
    if source.outputs == "logits":
        if normal.all():
            raise InvalidInputError.of(
                f"{field}.outputs",
                "every output row is non-negative and sums to 1, so softmax would be applied twice; declare "
                "'probabilities', or name the output that holds logits",
            )
        return said
    _refuse(
        ~normal, ids, f"{field}.outputs", "gives no probabilities (negative, or not summing to 1); declare 'logits'"
    )
    return np.log(np.maximum(said, np.float32(_SMALLEST_PROBABILITY)))


def _refuse(bad: NDArray[np.bool_], ids: NDArray[Any], field: str, why: str) -> None:
    if bad.any():
        named = ", ".join(str(name) for name in ids[bad][:10])
        raise InvalidInputError.of(field, f"the model {why} ({int(bad.sum())} of {len(bad)} rows, ids {named})")

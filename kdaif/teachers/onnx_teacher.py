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
from kdaif.teachers.onnx_sandbox import Limits, Question, hear_in_sandbox, run_in_sandbox
from kdaif.teachers.outputs import TeacherOutputs, asked_parts, ids_at, split_parts
from kdaif.teachers.remembered import Remember, output_key
from kdaif.top_classes import KEPT_CLASSES, Logits, TopClasses, class_dtype

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
    temperature: float | None = None,
) -> TeacherOutputs:
    """Asks the model about every part, in a sandbox, and binds its columns to the class names of the job.

    Args:
        source: names, kind of the outputs, layout, scale and limits.
        data: the rows.
        model: the file.
        field: where ``source`` stands in the request.
        remember: keeps the outputs by model, rows and options; a limit is none of these.
        scratch: of the rows and the outputs; None where they are in memory.
        temperature: of `softening`: the outputs are then kept by the largest classes.

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
    order = [source.class_names.index(name) for name in data.class_names]
    options: dict[str, Any] = {"kind": "onnx", **dataclasses.asdict(plan)}
    if temperature is not None:

        def top() -> NDArray[np.float32]:
            heard = _TopHeard(source, TopClasses.empty(question.rows, question.classes, temperature, room))
            hear_in_sandbox(model, question, _batches(features, plan, room), limits, field, room, heard.hear)
            return heard.packed(room)

        options |= {"outputs": source.outputs, "kept": KEPT_CLASSES, "temperature": temperature}
        packed = remember(output_key(model, features, options, room), top)
        logits, bad, normal = _unpacked(packed, question.classes, temperature)
        _refuse_misfits(source, bad, normal, parts, field)
        logits.named(np.argsort(order))
        return TeacherOutputs.of_parts(_split(logits, parts))
    said = remember(
        output_key(model, features, options, room),
        lambda: run_in_sandbox(model, question, _batches(features, plan, room), limits, field, room),
    )
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
        some, bad[rows], normal[rows] = _looked_at(source, said[rows])
        logits[rows] = some[:, order]
    _refuse_misfits(source, bad, normal, parts, field)
    return logits


def _looked_at(
    source: OnnxTeacher, some: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Some rows as logits; which of them are not finite, and which sum to 1."""
    bad = ~np.isfinite(some).all(axis=1)
    with np.errstate(invalid="ignore"):  # of infinities, which are refused
        normal = (some >= 0).all(axis=1) & (np.abs(some.sum(axis=1, dtype=np.float64) - 1) <= _SUM_TOLERANCE)
        if source.outputs == "probabilities":
            some = np.log(np.maximum(some, np.float32(_SMALLEST_PROBABILITY)))
    return some, np.asarray(bad), np.asarray(normal)


class _TopHeard:
    """What the model says, kept by the largest classes as it comes, and what is looked at in whole rows alone."""

    def __init__(self, source: OnnxTeacher, logits: TopClasses) -> None:
        self._source, self._logits = source, logits
        self._flags = np.empty((len(logits), 2), np.float32)

    def hear(self, rows: slice, outputs: NDArray[np.float32]) -> None:
        """Takes some rows."""
        self._logits[rows], self._flags[rows, 0], self._flags[rows, 1] = _looked_at(self._source, outputs)

    def packed(self, scratch: Scratch) -> NDArray[np.float32]:
        """All of it side by side, float32 ``[N, 2 k + 4]``: class numbers below 2^24 are exact."""
        arrays = [*self._logits.arrays.values(), self._flags]
        found: NDArray[np.float32] = scratch.empty((len(self._flags), sum(a.shape[1] for a in arrays)), np.float32)
        for rows in scratch.slabs(len(found), 2 * found[:1].nbytes):
            found[rows] = np.concatenate([array[rows] for array in arrays], axis=1)
        return found


def _unpacked(
    packed: NDArray[np.float32], n_classes: int, temperature: float
) -> tuple[TopClasses, NDArray[np.bool_], NDArray[np.bool_]]:
    """Back from `_TopHeard.packed`: the logits, the rows that are not finite, and those that sum to 1."""
    k = (packed.shape[1] - 4) // 2
    values, classes, rest, flags = np.split(packed, [k, 2 * k, 2 * k + 2], axis=1)
    logits = TopClasses(
        np.ascontiguousarray(values),
        classes.astype(class_dtype(n_classes)),
        np.ascontiguousarray(rest),
        n_classes,
        temperature,
    )
    return logits, flags[:, 0] > 0, flags[:, 1] > 0


def _split(logits: TopClasses, parts: Mapping[str, Rows]) -> dict[str, Logits]:
    """As `split_parts`."""
    ends = np.cumsum([len(rows) for rows in parts.values()]).tolist()
    return {name: logits.between(start, end) for name, start, end in zip(parts, [0, *ends[:-1]], ends, strict=True)}


def _refuse_misfits(
    source: OnnxTeacher,
    bad: NDArray[np.bool_],
    normal: NDArray[np.bool_],
    parts: Mapping[str, Rows],
    field: str,
) -> None:
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


def _refuse(bad: NDArray[np.bool_], parts: Mapping[str, Rows], field: str, why: str) -> None:
    if bad.any():
        named = ", ".join(ids_at(np.flatnonzero(bad)[:10], parts))
        raise InvalidInputError.of(field, f"the model {why} ({int(bad.sum())} of {len(bad)} rows, ids {named})")

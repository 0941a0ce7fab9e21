"""The rows of each part, taken out of their data sets once it is known which they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.datasets.columns import TEXT
from kdaif.datasets.examine import Examined
from kdaif.datasets.matrices import as_text
from kdaif.datasets.part import Part
from kdaif.datasets.rows import DistillationData, Rows
from kdaif.datasets.strings import Strings, text_array
from kdaif.datasets.texts import encode, train_tokenizer
from kdaif.records import ColumnTeacher, DistillationSpec, PreflightReport
from kdaif.scratch import Scratch
from kdaif.top_classes import Logits, TopClasses

_RUN_ROWS = 65_536


def gather(spec: DistillationSpec, found: Examined, report: PreflightReport, scratch: Scratch) -> DistillationData:
    """All parts of a job, texts as word pieces.

    Args:
        spec: the job.
        found: its data sets, whose arrays are used up: where rows were dropped, the others move up in their place.
        report: of the findings.
        scratch: where ``found`` keeps its arrays.
    """
    texts = _texts(found, scratch)
    parts = {name: _labeled(found, name, texts, scratch) for name in found.places if name != "unlabeled"}
    parts["unlabeled"] = _unlabeled(spec, found, texts, scratch)
    signature = found.signature
    if texts:
        # The tokenizer sees the rows that are trained on, and none that are held out.
        seen = Strings(pa.chunked_array([texts[name].array for name in ("labeled", "unlabeled")]), scratch)
        signature = replace(signature, tokenizer=train_tokenizer(seen, spec.inputs))
        parts = {
            name: replace(rows, features=encode(signature.tokenizer, texts[name], scratch))
            for name, rows in parts.items()
        }
    return DistillationData(found.class_names, signature, **parts, report=report, test_is_given=spec.test is not None)


def _labeled(found: Examined, name: str, texts: dict[str, Strings], scratch: Scratch) -> Rows:
    place = found.places[name]
    part, rows = found.sets[place.role], place.rows
    judged = found.judged if name == "validation" else {}
    return Rows(
        ids=_ids(part, rows, scratch),
        features=_inputs(part, rows, scratch),
        labels=found.labels[place.role][rows].astype(np.int64),
        groups=_groups(part, rows),
        texts=texts.get(name),
        member_logits={member: _taken(logits, rows, scratch) for member, logits in judged.items()},
    )


def _unlabeled(spec: DistillationSpec, found: Examined, texts: dict[str, Strings], scratch: Scratch) -> Rows:
    part, rows = found.sets["unlabeled"], found.places["unlabeled"].rows
    said = {
        member: _said(outputs.logits, rows, scratch)
        for member, outputs in found.said.items()
        if outputs.logits is not None
    }
    single = isinstance(spec.teacher.source, ColumnTeacher)
    return Rows(
        ids=_ids(part, rows, scratch),
        features=_EMPTY if part.features is None else _moved_up(part.features, rows, scratch),
        labels=np.empty(0, dtype=np.int64),
        truth=None if found.truth is None else found.truth[rows].astype(np.int64),
        teacher_logits=said.get(0) if single else None,
        groups=_groups(part, rows),
        weight_override=None if found.overrides is None else _moved_up(found.overrides, rows, scratch),
        texts=texts.get("unlabeled"),
        member_logits={} if single else said,
    )


_EMPTY = np.empty((0, 0), dtype=np.int32)  # in place of word pieces, until there is a tokenizer


def _groups(part: Part, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {column: names.at(rows) for column, names in part.groups.items()}


def _inputs(part: Part, rows: NDArray[np.int64], scratch: Scratch) -> NDArray[Any]:
    return _EMPTY if part.features is None else _taken(part.features, rows, scratch)


def _texts(found: Examined, scratch: Scratch) -> dict[str, Strings]:
    """The raw texts of each part of a job of texts."""
    if found.signature.kind != "text":
        return {}
    whole = {role: _text_column(part, scratch) for role, part in found.sets.items()}
    return {name: _strings(whole[place.role], place.rows, scratch) for name, place in found.places.items()}


def _text_column(part: Part, scratch: Scratch) -> pa.Array:
    def read() -> Iterator[pa.Array]:
        return (as_text(values) for _, values in part.file.column(TEXT))

    return text_array(read, len(part.ids), scratch, pa.large_string())


def _ids(part: Part, rows: NDArray[np.int64], scratch: Scratch) -> Any:
    if pa.types.is_string(part.ids.type):
        return _strings(part.ids, rows, scratch)
    ids = part.ids.to_numpy()
    return ids if len(rows) == len(ids) else ids[rows]


def _strings(texts: pa.Array, rows: NDArray[np.int64], scratch: Scratch) -> Strings:
    if len(rows) == len(texts):
        return Strings(texts, scratch)

    def read() -> Iterator[pa.Array]:
        for start in range(0, len(rows), _RUN_ROWS):
            yield texts.take(pa.array(rows[start : start + _RUN_ROWS]))

    return Strings(text_array(read, len(rows), scratch, texts.type), scratch)


def _taken(values: NDArray[Any], rows: NDArray[np.int64], scratch: Scratch) -> NDArray[Any]:
    """``values[rows]``, a run at a time."""
    taken = scratch.empty((len(rows), *values.shape[1:]), values.dtype)
    for run in scratch.slabs(len(rows), 3 * values[:1].nbytes):
        taken[run] = values[rows[run]]
    return taken


def _said(logits: Logits, rows: NDArray[np.int64], scratch: Scratch) -> Logits:
    if not isinstance(logits, TopClasses):
        return _moved_up(logits, rows, scratch)
    for array in logits.arrays.values():
        _moved_up(array, rows, scratch)
    return logits.between(0, len(rows))


def _moved_up(values: NDArray[Any], rows: NDArray[np.int64], scratch: Scratch) -> NDArray[Any]:
    """``values[rows]``, in the place of ``values``: rows ascend, so that none is overwritten before it has moved."""
    if len(rows) < len(values):
        for run in scratch.slabs(len(rows), 3 * values[:1].nbytes):
            values[run] = values[rows[run]]
    return values[: len(rows)]

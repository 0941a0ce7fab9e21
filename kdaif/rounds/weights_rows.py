"""One round's weights, as rows of a table sorted by id, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.datasets import DistillationData, Strings
from kdaif.records.weights_table import ROW_GROUP_ROWS, weights_schema
from kdaif.rounds.reweighting import Reweighted
from kdaif.scratch import Scratch
from kdaif.teachers import SoftTargets

BATCH_ROWS = ROW_GROUP_ROWS
"""Rows of a batch, each of which becomes a row group."""


@dataclass(frozen=True, eq=False)
class WeightsRows:
    """N rows of `weights_schema`, sorted by id; nothing of them is made before it is asked for.

    Attributes:
        schema: of `weights_schema`.
        num_rows: N.
    """

    schema: pa.Schema
    num_rows: int
    _columns: Callable[[], dict[str, Any]]
    _scratch: Scratch

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Of `BATCH_ROWS` rows each, but for the last."""
        columns = self._columns()
        for start in range(0, self.num_rows, BATCH_ROWS):
            arrays = [_arrow(columns[field.name], start, field) for field in self.schema]
            yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)
            self._scratch.release()

    def table(self) -> pa.Table:
        """All rows in memory."""
        return pa.Table.from_batches(self.batches(), schema=self.schema)


@dataclass(frozen=True, eq=False)
class _Named:
    """Class codes `[N]`, -1 where unknown, whose names are the values."""

    codes: NDArray[np.int32]
    names: pa.Array


@dataclass(frozen=True, eq=False)
class _Texts:
    """Text ids `[N]` in the order of the rows, and the places of the rows by their ids; None where that is the same."""

    texts: pa.Array | pa.ChunkedArray
    order: NDArray[np.int64] | None


def weights_rows(
    data: DistillationData, targets: SoftTargets, reweighted: Reweighted, round_number: int, scratch: Scratch
) -> WeightsRows:
    """The rows of a scoring, from arrays that are not to be changed after.

    Confidences are at temperature 1. `weight` is what the next round multiplies the row's loss with.
    """
    ids = data.unlabeled.ids
    id_type = pa.string() if _are_texts(ids) else pa.int64()

    def columns() -> dict[str, Any]:
        return _columns(data, targets, reweighted, round_number, scratch)

    return WeightsRows(weights_schema(id_type, tuple(data.unlabeled.groups)), len(ids), columns, scratch)


def _columns(
    data: DistillationData, targets: SoftTargets, reweighted: Reweighted, round_number: int, scratch: Scratch
) -> dict[str, Any]:
    """By name, in order of the ids: arrays `[N]`, `_Named` for classes, and `_Texts` for ids that are such."""
    unlabeled, names = data.unlabeled, pa.array(data.class_names, pa.string())
    labels, confidence = _of_teacher(targets.logits, scratch)
    order = _order(unlabeled.ids, scratch)

    def numbers(values: NDArray[Any] | None, dtype: Any = np.float32) -> NDArray[Any]:
        return _in_order(values, len(unlabeled), order, dtype, scratch)

    return {
        "id": _ids(unlabeled.ids, order, scratch),
        "round": np.broadcast_to(np.int32(round_number), len(unlabeled)),
        "weight": numbers(reweighted.weighting.weights),
        "val_loss_change_if_upweighted": numbers(reweighted.influence),
        "stderr": numbers(reweighted.stderr),
        "z_influence": numbers(reweighted.z_influence),
        "z_agreement": numbers(reweighted.z_agreement),
        "log_odds": numbers(reweighted.log_odds),
        "pseudo_label": _Named(numbers(labels, np.int32), names),
        "teacher_confidence": numbers(confidence),
        "student_label": _Named(numbers(reweighted.student_labels, np.int32), names),
        "student_confidence": numbers(reweighted.student_confidence),
        "distillation_loss": numbers(reweighted.losses),
        "weight_override": numbers(unlabeled.weight_override),
        "truth": _Named(numbers(unlabeled.truth, np.int32), names),
        **{name: _of_group(values, order, scratch) for name, values in unlabeled.groups.items()},
    }


def _of_group(values: NDArray[Any], order: NDArray[np.int64] | None, scratch: Scratch) -> _Named:
    """Names of groups are few, so a code stands for each."""
    known: dict[str | None, int] = {None: -1}
    codes = scratch.empty((len(values),), np.int32)
    for rows in scratch.slabs(len(values), 16):
        codes[rows] = [known.setdefault(name, len(known) - 1) for name in values[rows]]
    names = pa.array([name for name in known if name is not None], pa.string())
    return _Named(_in_order(codes, len(values), order, np.int32, scratch), names)


def _of_teacher(logits: NDArray[np.float32], scratch: Scratch) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The teacher's most likely class and its probability, of each row."""
    labels = scratch.empty((len(logits),), np.int32)
    confidence = scratch.empty((len(logits),), np.float32)
    for rows in scratch.slabs(len(logits), 4 * 8 * logits.shape[1]):
        wide = logits[rows].astype(np.float64)
        odds = np.exp(wide - wide.max(axis=1, keepdims=True))
        labels[rows] = odds.argmax(axis=1)
        confidence[rows] = odds.max(axis=1) / odds.sum(axis=1)
    return labels, confidence


def _are_texts(ids: NDArray[Any] | Strings) -> bool:
    return isinstance(ids, Strings) or not np.issubdtype(ids.dtype, np.integer)


def _order(ids: NDArray[Any] | Strings, scratch: Scratch) -> NDArray[np.int64] | None:
    """Places of the rows by their ids; None where they stand in order already."""
    texts = pa.array(ids, pa.large_string()) if _are_texts(ids) else None
    slabs = _overlapping(len(ids), scratch)
    if all(_is_ascending(ids[rows] if texts is None else texts[rows]) for rows in slabs):
        return None
    found = np.argsort(ids) if texts is None else pc.sort_indices(texts).to_numpy()
    order: NDArray[np.int64] = scratch.empty((len(ids),), np.int64)
    for rows in scratch.slabs(len(ids), 16):
        order[rows] = found[rows]
    return order


def _is_ascending(values: NDArray[Any] | pa.Array) -> bool:
    ascending = pc.less_equal(pa.array(values[:-1]), pa.array(values[1:]))
    return pc.all(ascending).as_py() is not False


def _ids(ids: NDArray[Any] | Strings, order: NDArray[np.int64] | None, scratch: Scratch) -> NDArray[Any] | _Texts:
    if _are_texts(ids):
        return _Texts(pa.array(ids, pa.large_string()), order)
    return _in_order(np.asarray(ids), len(ids), order, np.int64, scratch)


def _overlapping(n_rows: int, scratch: Scratch) -> Iterator[slice]:
    """Slabs that begin with the last row of the one before."""
    for rows in scratch.slabs(n_rows, 16):
        yield slice(max(rows.start - 1, 0), rows.stop)


def _in_order(
    values: NDArray[Any] | None, n_rows: int, order: NDArray[np.int64] | None, dtype: Any, scratch: Scratch
) -> NDArray[Any]:
    """The values `[N]` by id; one column at a time, since the rows that stand side by side came from anywhere."""
    if values is None:
        return np.broadcast_to(np.array(-1 if dtype is np.int32 else np.nan, dtype), n_rows)
    if order is None:
        return values
    found = scratch.empty((n_rows,), dtype)
    for rows in scratch.slabs(n_rows, 32):
        found[rows] = values[order[rows]]
    return found


def _arrow(column: NDArray[Any] | _Texts | _Named, start: int, field: pa.Field) -> pa.Array:
    some = slice(start, start + BATCH_ROWS)
    if isinstance(column, _Texts):
        chosen = column.texts[some] if column.order is None else column.texts.take(pa.array(column.order[some]))
        joined = chosen.combine_chunks() if isinstance(chosen, pa.ChunkedArray) else chosen
        return joined.cast(field.type)
    if isinstance(column, _Named):
        codes = column.codes[some]
        return column.names.take(pa.array(codes, pa.int64(), mask=codes < 0))
    # Where nobody spoke for a row is no number; elsewhere NaN is one that could not be computed.
    return pa.array(column[some], from_pandas=field.name == "weight_override").cast(field.type)

"""One round's weights as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.datasets import DistillationData
from kdaif.records.weights_table import weights_schema
from kdaif.rounds.reweighting import Reweighted
from kdaif.teachers import SoftTargets


def weights_table(data: DistillationData, targets: SoftTargets, reweighted: Reweighted, round_number: int) -> pa.Table:
    """The table of `weights_schema`, N rows, sorted by id.

    Confidences are at temperature 1. `weight` is what the next round multiplies the row's loss with.
    """
    ids = data.unlabeled.ids
    names = data.class_names
    teacher = targets.logits.astype(np.float64)
    teacher = np.exp(teacher - teacher.max(axis=1, keepdims=True))
    student = reweighted.log_student
    overrides = (
        data.unlabeled.weight_override if data.unlabeled.weight_override is not None else np.full(len(ids), np.nan)
    )
    id_type = pa.int64() if np.issubdtype(ids.dtype, np.integer) else pa.string()
    columns: dict[str, Any] = {
        "id": ids.tolist(),
        "round": np.full(len(ids), round_number),
        "weight": reweighted.weighting.weights,
        "val_loss_change_if_upweighted": reweighted.influence,
        "stderr": reweighted.stderr,
        "z_influence": reweighted.z_influence,
        "z_agreement": reweighted.z_agreement,
        "log_odds": reweighted.log_odds,
        "pseudo_label": _named(teacher.argmax(axis=1), names),
        "teacher_confidence": teacher.max(axis=1) / teacher.sum(axis=1),
        "student_label": _named(student.argmax(axis=1), names),
        "student_confidence": np.exp(student.max(axis=1)),
        "distillation_loss": reweighted.losses,
        "weight_override": pa.array(overrides, pa.float64(), from_pandas=True),  # NaN becomes null
        "truth": _named(data.unlabeled.truth if data.unlabeled.truth is not None else np.full(len(ids), -1), names),
    }
    schema = weights_schema(id_type)
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema).sort_by("id")


def _named(codes: NDArray[np.integer[Any]], names: Sequence[str]) -> pa.Array:
    """Class names; null where the code is -1."""
    return pa.array([None if code < 0 else names[code] for code in codes.tolist()], pa.string())

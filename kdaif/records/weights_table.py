"""The weights table: one immutable Parquet shard per round, sorted by id."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

ROW_GROUP_ROWS = 8_192
"""Of a shard. What is looked up by id is read by row group, and a scan pays little for many of them."""


def weights_schema(id_type: pa.DataType, groups: Sequence[str] = ()) -> pa.Schema:
    """Columns of a weights shard. Negative ``val_loss_change_if_upweighted`` helps, positive harms.

    ``weight_override`` is what a person gave the row, null where nobody did; ``weight`` is then the same, while
    ``log_odds`` and its parts go on saying what kdaif itself thinks of the row. Shards of old jobs lack the column.

    Args:
        id_type: type of the ids, ``pa.string()`` or ``pa.int64()``.
        groups: names of the ``group_`` columns of the unlabelled set, which come last.
    """
    return pa.schema(
        [
            ("id", id_type),
            ("round", pa.int32()),
            ("weight", pa.float32()),
            ("val_loss_change_if_upweighted", pa.float32()),
            ("stderr", pa.float32()),
            ("z_influence", pa.float32()),
            ("z_agreement", pa.float32()),
            ("log_odds", pa.float32()),
            ("pseudo_label", pa.string()),
            ("teacher_confidence", pa.float32()),
            ("student_label", pa.string()),
            ("student_confidence", pa.float32()),
            ("distillation_loss", pa.float32()),
            ("truth", pa.string()),
            ("weight_override", pa.float32()),
            *((name, pa.string()) for name in groups),
        ]
    )

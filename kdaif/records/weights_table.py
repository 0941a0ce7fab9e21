"""The weights table: one immutable Parquet shard per round, sorted by id."""

from __future__ import annotations

import pyarrow as pa


def weights_schema(id_type: pa.DataType) -> pa.Schema:
    """Columns of a weights shard. Negative ``val_loss_change_if_upweighted`` helps, positive harms.

    ``weight_override`` is what a person gave the row, null where nobody did; ``weight`` is then the same, while
    ``log_odds`` and its parts go on saying what kdaif itself thinks of the row. Shards of old jobs lack the column.

    Args:
        id_type: type of the ids, ``pa.string()`` or ``pa.int64()``.
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
        ]
    )

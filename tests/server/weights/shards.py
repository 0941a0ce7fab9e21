from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from kdaif_server.weights.shard import Shard

from kdaif.records.provenance import Provenance
from kdaif.records.weights_table import weights_schema


def write_shard(
    folder: Path,
    ids: Sequence[Any],
    columns: dict[str, Any],
    *,
    groups: Sequence[str] = (),
    row_group_size: int = 3,
    made_by: Provenance | None = None,
) -> Shard:
    """A shard of these ids (in ascending order), other numbers 0.5 and other names "x"."""
    id_type = pa.int64() if isinstance(ids[0], int) else pa.string()
    schema = weights_schema(id_type)
    for name in groups:
        schema = schema.append(pa.field(name, pa.string()))
    rows = len(ids)
    given = {"id": list(ids), "round": [1] * rows, "truth": [None] * rows, "weight_override": [None] * rows} | columns
    filled = {
        field.name: given.get(field.name, [0.5 if pa.types.is_floating(field.type) else "x"] * rows) for field in schema
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "shard.parquet"
    table = pa.table(filled, schema=schema if made_by is None else schema.with_metadata(made_by.metadata()))
    pq.write_table(table, file, row_group_size=row_group_size)
    return Shard(file)


def random_columns(rows: int, seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    return {
        "weight": generator.gamma(1.0, size=rows).astype(np.float32),
        "val_loss_change_if_upweighted": generator.normal(size=rows).astype(np.float32),
        "pseudo_label": generator.choice(["cat", "dog", "eel"], rows).tolist(),
        "truth": generator.choice(["cat", "dog", None], rows).tolist(),
        "group_sex": generator.choice(["F", "M", None], rows).tolist(),
    }

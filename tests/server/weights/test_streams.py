from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest
from kdaif_server.weights import streams
from kdaif_server.weights.engine import Engine
from kdaif_server.weights.filters import parse_filter

from tests.server.weights.shards import random_columns, write_shard


@pytest.mark.parametrize("text", ["", "weight < 0.7"])
def test_a_stream_that_breaks_anywhere_goes_on_without_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(streams, "ROWS_PER_BATCH", 4)
    shard = write_shard(tmp_path, range(50), random_columns(50), groups=["group_sex"], row_group_size=7)
    engine, condition = Engine(tmp_path), parse_filter(text, shard.schema)

    def read(start: int) -> list[tuple[list[int], int]]:
        found = []
        for data, row in streams.stream_batches(engine, shard, condition, start):
            batch = pa.ipc.open_stream(io.BytesIO(data)).read_all()
            assert batch.schema.names == shard.schema.names
            found.append((batch.column("id").to_pylist(), row))
        return found

    whole = read(0)
    ids = [value for batch, _ in whole for value in batch]
    assert ids == [
        row["id"] for row in shard.rows_of([str(n) for n in range(50)]).to_pylist() if not text or row["weight"] < 0.7
    ]
    for number, (_, token) in enumerate(whole):
        before = [value for batch, _ in whole[: number + 1] for value in batch]
        assert before + [value for batch, _ in read(token) for value in batch] == ids
    for start in range(51):
        assert [value for batch, _ in read(start) for value in batch] == [value for value in ids if value >= start]

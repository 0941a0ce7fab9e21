"""A whole shard as Arrow record batches, to be gone on with where it broke off."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from kdaif_server.weights.engine import Engine
from kdaif_server.weights.filters import EVERY_ROW, Condition
from kdaif_server.weights.shard import Shard

ROWS_PER_BATCH = 16_384  # about a megabyte


def stream_batches(engine: Engine, shard: Shard, condition: Condition, start: int) -> Iterator[tuple[bytes, int]]:
    """Arrow IPC streams of one batch each, by id, and the row to go on at behind each.

    Args:
        engine: that scans where there is a filter.
        shard: of the round.
        condition: from `parse_filter`.
        start: row of the shard, 0 for all.
    """
    if condition == EVERY_ROW:
        yield from _all_rows(shard, start)
        return
    # The condition holds quoted columns and placeholders; every value of the user's is a parameter.
    sql = (
        f"SELECT * FROM read_parquet(?, file_row_number = true) "  # noqa: S608
        f"WHERE file_row_number >= ? AND {condition.sql} ORDER BY file_row_number"
    )
    for batch in engine.batches(sql, [str(shard.parquet), start, *condition.parameters], ROWS_PER_BATCH):
        if batch.num_rows:
            row = batch.column("file_row_number")[-1].as_py() + 1
            yield _encoded(batch.select(shard.schema.names)), row


def _all_rows(shard: Shard, start: int) -> Iterator[tuple[bytes, int]]:
    # Group by group, and without reading ahead: the memory then is that of a group.
    with pq.ParquetFile(shard.parquet, pre_buffer=False) as parquet:
        first = 0
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if first + rows > start:
                table = parquet.read_row_group(group).slice(max(0, start - first))
                row = max(first, start)
                for batch in table.to_batches(ROWS_PER_BATCH):
                    row += batch.num_rows
                    yield _encoded(batch), row
            first += rows


def _encoded(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    plain = batch.replace_schema_metadata(None)
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_batch(plain)
    return bytes(sink.getvalue())

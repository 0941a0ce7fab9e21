from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_client._tables import parquet_file
from kdaif_client.errors import InvalidArgument


def test_a_parquet_file_without_ids_gets_them_as_a_frame_does(tmp_path: Path) -> None:
    table = pa.table({"a": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "pool.parquet")
    with parquet_file(tmp_path / "pool.parquet", "pool") as from_path, parquet_file(table, "pool") as from_table:
        assert from_path.read_bytes() == from_table.read_bytes()
        assert pq.read_table(from_path).column("id").to_pylist() == ["pool-000001", "pool-000002"]


def test_a_parquet_file_with_ids_is_sent_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "pool.parquet"
    pq.write_table(pa.table({"id": ["x"], "a": [1.0]}), file)
    with parquet_file(file, "pool") as sent:
        assert sent == file


def test_a_file_that_only_looks_like_parquet_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pool.parquet"
    file.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(InvalidArgument, match="not a whole Parquet file"), parquet_file(file, "pool"):
        pass

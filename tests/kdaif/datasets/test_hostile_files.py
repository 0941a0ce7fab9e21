"""Files that are damaged, or that are small and would fill the memory. They are refused before they are read."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdaif.datasets import inspect, parquet
from kdaif.datasets.table_file import TableFile
from kdaif.errors import InvalidInputError

# Looked at in a process of its own, whose memory is bounded and measured.
LOOK = """
import sys
from pathlib import Path
from kdaif.datasets import inspect, parquet
from kdaif.errors import InvalidInputError
try:
    inspect(Path(sys.argv[1]), most_bytes=int(sys.argv[2]))
except InvalidInputError as error:
    print(error.violations[0].description)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def look(file: Path, most_bytes: int = parquet.MOST_BYTES) -> tuple[str, int, float]:
    """The refusal, the most memory in MiB and the seconds."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(file), str(most_bytes)], capture_output=True, text=True, check=True
    )
    *refusal, memory = done.stdout.strip().split("\n")
    return " ".join(refusal), int(memory) // 1024, time.monotonic() - start


def whole(file: Path) -> pa.Table:
    """Every column as a job reads it."""
    table = TableFile.of(file, "spec.test")
    return pa.Table.from_batches([batch for _, batch in table.batches(table.schema.names)], table.schema)


def wide_footer(columns: int) -> bytes:
    """A Parquet file of no rows, written by hand: to build such a table takes minutes. Thrift's compact protocol."""

    def varint(value: int) -> bytes:
        high = b""
        while value > 127:
            high += bytes([value & 127 | 128])
            value >>= 7
        return high + bytes([value])

    root = b"\x48\x06schema\x15" + varint(2 * columns) + b"\x00"
    leaves = b"".join(
        b"\x15\x02\x25\x00\x18" + varint(len(n)) + n + b"\x00" for n in map(b"c%d".__mod__, range(columns))
    )
    footer = b"\x15\x02\x19\xfc" + varint(columns + 1) + root + leaves + b"\x16\x00\x19\x0c\x00"
    return b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def test_a_million_columns_are_refused_without_reading_them(tmp_path: Path) -> None:
    file = tmp_path / "wide.parquet"
    file.write_bytes(wide_footer(100))
    assert len(inspect(file)[1]) == 100  # a file like any other
    file.write_bytes(wide_footer(1_000_000))
    refusal, memory_mib, seconds = look(file)
    assert "over 100,000 columns" in refusal
    assert "'features' list" in refusal
    assert memory_mib < 512
    assert seconds < 10


def test_more_columns_than_are_read_are_refused_by_number(tmp_path: Path) -> None:
    file = tmp_path / "wide.parquet"
    pq.write_table(pa.table([pa.array([1], pa.int8())] * 20_001, names=[f"c{n}" for n in range(20_001)]), file)
    with pytest.raises(InvalidInputError, match="20,001 columns where at most 20,000 are read"):
        inspect(file)


def run_lengths(file: Path) -> None:
    """Ten million rows of two columns in which one number repeats, 160 MB in memory."""
    zeros = np.zeros(10_000_000, np.int64)
    pq.write_table(pa.table({"id": zeros, "x": zeros}), file, row_group_size=len(zeros))


def long_texts(file: Path) -> None:
    """A text of a megabyte, twenty thousand times."""
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 2**20]))
    pq.write_table(pa.table({"id": np.arange(20_000), "text": texts}), file, dictionary_pagesize_limit=2**22)


def lists_of_texts(file: Path) -> None:
    """The same in lists."""
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 2**20]))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(20_001, dtype=np.int32)), texts)
    pq.write_table(pa.table({"id": np.arange(20_000), "weak": lists}), file, dictionary_pagesize_limit=2**22)


def shared_prefixes(file: Path) -> None:
    """A text of a megabyte, of which each of the next rows repeats all but the end."""
    texts = ["x" * 2**20 + str(row) for row in range(40)]
    table = pa.table({"id": np.arange(40), "text": texts})
    pq.write_table(table, file, use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"})


@pytest.mark.parametrize(("write", "most_bytes"), [(run_lengths, 2**27), (long_texts, 2**33), (lists_of_texts, 2**33)])
def test_a_small_file_of_many_bytes_is_refused_unread(
    tmp_path: Path, write: Callable[[Path], None], most_bytes: int
) -> None:
    file = tmp_path / "bomb.parquet"
    write(file)
    assert file.stat().st_size < 2**22
    refusal, memory_mib, _ = look(file, most_bytes)
    assert "however small the file" in refusal
    assert memory_mib < 512


def test_texts_whose_size_cannot_be_told_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "prefixes.parquet"
    shared_prefixes(file)
    with pytest.raises(InvalidInputError, match="DELTA_BYTE_ARRAY"):
        inspect(file)


def test_texts_that_repeat_are_read_where_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "texts.parquet"
    table = pa.table({"id": np.arange(2000), "text": ["some text", "some other text"] * 1000, "n": [[1, 2]] * 2000})
    pq.write_table(table, file)
    size = 2000 * 4 + 2000 * (9 + 15) // 2
    monkeypatch.setattr(parquet, "_COUNTED_ABOVE_BYTES", 0)
    monkeypatch.setattr(parquet, "MOST_TEXT_BYTES", size)  # less than 2000 times the pages of the text
    assert whole(file).equals(table)
    monkeypatch.setattr(parquet, "MOST_TEXT_BYTES", size - 1)
    with pytest.raises(InvalidInputError, match="of memory"):
        whole(file)


@pytest.mark.parametrize("left", [0, 3, 7, 100, -1, -9])
def test_a_file_cut_short_is_refused(tmp_path: Path, left: int) -> None:
    file = tmp_path / "cut.parquet"
    pq.write_table(pa.table({"id": np.arange(100), "x": np.arange(100.0)}), file)
    written = file.read_bytes()
    file.write_bytes(written[:left])
    with pytest.raises(InvalidInputError, match="no readable Parquet file"):
        inspect(file)
    with pytest.raises(InvalidInputError, match=r"spec\.test: no readable Parquet file"):
        whole(file)


def test_a_footer_that_lies_about_its_length_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "lie.parquet"
    pq.write_table(pa.table({"id": np.arange(100)}), file)
    written: Any = bytearray(file.read_bytes())
    written[-8:-4] = (2**31 - 1).to_bytes(4, "little")
    file.write_bytes(written)
    with pytest.raises(InvalidInputError, match="no readable Parquet file"):
        inspect(file)

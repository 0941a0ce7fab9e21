"""The ``id`` column: read, checked, and found again in another data set. No row's id is a Python object here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.datasets.columns import ID
from kdaif.datasets.findings import IDS_SHOWN, Findings, first_ids
from kdaif.datasets.hashing import is_among, text_hashes
from kdaif.datasets.matrices import is_text, plain
from kdaif.datasets.strings import text_array
from kdaif.datasets.table_file import TableFile
from kdaif.scratch import Scratch

LONGEST_ID_BYTES = 512
_RUN_ROWS = 65_536


def read_ids(file: TableFile, scratch: Scratch, findings: Findings) -> pa.Array | None:
    """The ``id`` column as one int64 or string array, or None (and a finding) when it does not name every row."""
    field = file.field
    if ID not in file.schema.names:
        findings.refuse("NO_ID", field, "no 'id' column; add one with a different string or integer in every row")
        return None
    if not file.num_rows:
        findings.refuse("NO_ROWS", field, "the data set has no rows")
        return None
    type_ = file.schema.field(ID).type
    nulls = 0
    try:
        ids, nulls = _text_ids(file, scratch) if is_text(plain(type_)) else _integer_ids(file)
    except pa.ArrowInvalid:
        ids = None
    if ids is None:
        findings.refuse("ID_TYPE", field, f"'id' is {type_}; store strings or 64-bit integers")
        return None
    if nulls:
        findings.refuse("NULL_ID", field, "'id' is null; name every row", nulls)
        return None
    if _refused_as_long(ids, field, findings) or _refused_as_repeated(ids, field, findings):
        return None
    return ids


def places_among(ids: pa.Array, wanted: pa.Array) -> NDArray[np.int64]:
    """int64 [M]: the place among ``ids`` of each of the M wanted ids, -1 where it is not there.

    Args:
        ids: [N], unique.
        wanted: [M], of the same type.
    """
    keys = _keys(ids)
    order = np.argsort(keys)
    keys = keys[order]
    if pa.types.is_string(ids.type) and (keys[1:] == keys[:-1]).any():
        # Two texts of one hash, by a chance of 3e-6 for ten million: Arrow's table of them takes 100 bytes a row.
        found = pc.index_in(wanted, value_set=ids).fill_null(-1)
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)
    places = np.empty(len(wanted), dtype=np.int64)
    for run in _runs(len(wanted)):
        some = wanted[run]
        sought = _keys(some)
        at = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
        same = keys[at] == sought
        if pa.types.is_string(ids.type):
            same &= pc.equal(ids.take(pa.array(order[at])), some).to_numpy(zero_copy_only=False)
        places[run] = np.where(same, order[at], -1)
    return places


def _integer_ids(file: TableFile) -> tuple[pa.Array | None, int]:
    """[N] int64, zero where null, and how many are null; None where they are no integers.

    Raises:
        pa.ArrowInvalid: one is over 2^63.
    """
    if not pa.types.is_integer(plain(file.schema.field(ID).type)):
        return None, 0
    ids = np.empty(file.num_rows, dtype=np.int64)
    nulls = 0
    for run, values in file.column(ID):
        nulls += values.null_count
        ids[run] = values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return pa.array(ids), nulls


def _text_ids(file: TableFile, scratch: Scratch) -> tuple[pa.Array | None, int]:
    """[N] strings, empty where null, and how many are null; None where all together are over 2 GiB."""
    nulls = sum(_as_strings(values).null_count for _, values in file.column(ID))
    ids = text_array(
        lambda: (_as_strings(values) for _, values in file.column(ID)), file.num_rows, scratch, pa.string()
    )
    return ids, nulls


def _as_strings(values: pa.Array) -> pa.Array:
    return values.cast(plain(values.type)).cast(pa.large_string())


def _refused_as_long(ids: pa.Array, field: str, findings: Findings) -> bool:
    if not pa.types.is_string(ids.type):
        return False
    long = pc.greater(pc.binary_length(ids), LONGEST_ID_BYTES).to_numpy(zero_copy_only=False)
    if long.any():
        shortened = tuple(f"{value[:40]}..." for value in first_ids(ids, long))
        findings.refuse(
            "LONG_ID", field, f"'id' is over {LONGEST_ID_BYTES} bytes; shorten it", int(long.sum()), shortened
        )
    return bool(long.any())


def _refused_as_repeated(ids: pa.Array, field: str, findings: Findings) -> bool:
    # Sorting takes the memory of the ids once more, where a table of their counts takes 170 bytes a row.
    keys = _keys(ids) if pa.types.is_string(ids.type) else _keys(ids).copy()
    keys.sort()
    doubtful = keys[1:][keys[1:] == keys[:-1]]
    if not len(doubtful):
        return False
    again = np.concatenate([is_among(_keys(ids[run]), doubtful) for run in _runs(len(ids))])
    counts = pc.value_counts(ids.filter(pa.array(again)))  # exact, where hashes are not
    more_than_one = pc.greater(counts.field("counts"), 1)
    repeated = counts.field("values").filter(more_than_one)
    if len(repeated):
        findings.refuse(
            "DUPLICATE_ID",
            field,
            "'id' is given to more than one row; make ids unique",
            int(pc.sum(counts.field("counts").filter(more_than_one)).as_py()),
            tuple(str(value) for value in repeated[:IDS_SHOWN].to_pylist()),
        )
    return len(repeated) > 0


def _keys(ids: pa.Array) -> NDArray[np.int64] | NDArray[np.uint64]:
    """[N] numbers, equal where ids are: integers themselves, of texts a hash of 64 bits."""
    if not pa.types.is_string(ids.type):
        return np.asarray(ids.to_numpy(zero_copy_only=False))
    keys = np.empty(len(ids), dtype=np.uint64)
    for run in _runs(len(ids)):
        keys[run] = text_hashes(ids[run])
    return keys


def _runs(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _RUN_ROWS):
        yield slice(start, min(start + _RUN_ROWS, rows))

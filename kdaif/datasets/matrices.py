"""Arrow columns into numpy matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def is_list(type_: pa.DataType) -> bool:
    """Whether the type holds one list per row."""
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_))


def is_number(type_: pa.DataType) -> bool:
    """Whether the type holds one number or truth value per row."""
    return bool(
        pa.types.is_integer(type_)
        or pa.types.is_floating(type_)
        or pa.types.is_boolean(type_)
        or pa.types.is_decimal(type_)
    )


def is_text(type_: pa.DataType) -> bool:
    """Whether the type holds one string per row."""
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def is_binary(type_: pa.DataType) -> bool:
    """Whether the type holds one run of bytes per row."""
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_))


def plain(type_: pa.DataType) -> pa.DataType:
    """The type of the values, where they are encoded as a dictionary."""
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strings, integers or booleans as large strings: 1 is "1", True is "true". Null stays null."""
    text = pa.large_string()  # 2 GiB of text may be one set
    if not pa.types.is_dictionary(column.type):
        return column.cast(text)
    # The values first: Arrow casts no dictionary to another type than its own.
    return pa.chunked_array([each.dictionary.cast(text).take(each.indices) for each in column.chunks], text)


def list_length(column: pa.ChunkedArray) -> int:
    """Length of the first list that is not null; 0 when there is none."""
    for chunk in column.chunks:
        lengths = pc.list_value_length(chunk).drop_null()
        if len(lengths):
            return int(lengths[0].as_py())
    return 0


def from_lists(column: pa.ChunkedArray, width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """A column of lists as a matrix.

    Returns:
        float32 [N, width], NaN where an element or the row is null; bool [N] null rows; bool [N] rows of other length.
    """
    matrix = np.full((len(column), width), np.nan, dtype=np.float32)
    missing = np.zeros(len(column), dtype=np.bool_)
    misfit = np.zeros(len(column), dtype=np.bool_)
    start = 0
    for chunk in column.chunks:
        rows = slice(start, start + len(chunk))
        start += len(chunk)
        lengths = pc.list_value_length(chunk).fill_null(-1).to_numpy(zero_copy_only=False)
        fits = lengths == width
        missing[rows] = lengths == -1
        misfit[rows] = ~fits & (lengths != -1)
        if fits.any():
            values = chunk.filter(pa.array(fits)).flatten()
            matrix[rows][fits] = _float32(values).reshape(-1, width)
    return matrix, missing, misfit


def from_numbers(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """float32 [N], NaN where null."""
    values = np.empty(len(column), dtype=np.float32)
    start = 0
    for chunk in column.chunks:
        values[start : start + len(chunk)] = _float32(chunk)
        start += len(chunk)
    return values


def from_tensors(column: pa.ChunkedArray, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A column of uint8 tensors.

    Returns:
        uint8 [N, *shape], zeros where null; bool [N] rows that are null or hold a null.
    """
    images = np.zeros((len(column), *shape), dtype=np.uint8)
    missing = np.zeros(len(column), dtype=np.bool_)
    start = 0
    for chunk in column.chunks:
        rows = slice(start, start + len(chunk))
        start += len(chunk)
        valid = chunk.is_valid().to_numpy(zero_copy_only=False)
        values = chunk.storage.filter(pa.array(valid)).flatten()
        images[rows][valid] = values.fill_null(0).to_numpy(zero_copy_only=False).reshape(-1, *shape)
        if values.null_count:
            holes = values.is_null().to_numpy(zero_copy_only=False).reshape(int(valid.sum()), -1)
            valid[valid] = ~holes.any(axis=1)
        missing[rows] = ~valid
    return images, missing


def _float32(values: pa.Array) -> NDArray[Any]:
    # Not "safe": integers past 2**24 round, and doubles past the range of float32 become infinite and are rejected.
    return np.asarray(pc.cast(values, pa.float32(), safe=False).to_numpy(zero_copy_only=False))

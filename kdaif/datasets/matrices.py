"""Arrow columns into numpy matrices."""

from __future__ import annotations

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


def as_text(values: pa.Array) -> pa.Array:
    """Strings, integers or booleans as large strings: 1 is "1", True is "true". Null stays null."""
    text = pa.large_string()
    # Of a dictionary the values first: Arrow casts none to another type than its own.
    return values.dictionary.cast(text).take(values.indices) if is_dictionary(values) else values.cast(text)


def is_dictionary(values: pa.Array) -> bool:
    """Whether the values are encoded as a dictionary."""
    return bool(pa.types.is_dictionary(values.type))


def list_length(lists: pa.Array) -> int:
    """Length of the first list that is not null; 0 when there is none."""
    lengths = pc.list_value_length(lists).drop_null()
    return int(lengths[0].as_py()) if len(lengths) else 0


def from_lists(lists: pa.Array, width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Lists as a matrix.

    Returns:
        float32 [N, width], NaN where an element or the row is null; bool [N] null rows; bool [N] rows of other length.
    """
    lengths = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False)
    missing, fits = lengths == -1, lengths == width
    values = from_numbers((lists if fits.all() else lists.filter(pa.array(fits))).flatten()).reshape(-1, width)
    if fits.all():
        return values, missing, ~fits
    matrix = np.full((len(lists), width), np.nan, dtype=np.float32)
    matrix[fits] = values
    return matrix, missing, ~fits & ~missing


def from_numbers(values: pa.Array) -> NDArray[np.float32]:
    """float32 [N], NaN where null."""
    # Not "safe": integers past 2**24 round, and doubles past the range of float32 become infinite and are rejected.
    return np.asarray(pc.cast(values, pa.float32(), safe=False).to_numpy(zero_copy_only=False))


def from_tensors(tensors: pa.Array, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Tensors of uint8.

    Returns:
        uint8 [N, *shape], zeros where null; bool [N] rows that are null or hold a null.
    """
    images = np.zeros((len(tensors), *shape), dtype=np.uint8)
    valid = tensors.is_valid().to_numpy(zero_copy_only=False)
    values = tensors.storage.filter(pa.array(valid)).flatten()
    images[valid] = values.fill_null(0).to_numpy(zero_copy_only=False).reshape(-1, *shape)
    if values.null_count:
        holes = values.is_null().to_numpy(zero_copy_only=False).reshape(int(valid.sum()), -1)
        valid[valid] = ~holes.any(axis=1)
    return images, ~valid

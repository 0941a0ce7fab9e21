"""Labels are names. Whatever type they are stored as, they are compared as text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

LONGEST_NAME = 256
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")


def label_text(column: pa.ChunkedArray) -> pa.Array:
    """A label column as text: 1, 1.0 and "1" are "1", True is "true".

    Args:
        column: [N] strings, integers, floats or booleans, possibly dictionary-encoded.

    Returns:
        [N] strings, null where the label is null, NaN, empty or longer than 256 characters. Null alone is
        unlabelled: -1 is a label like any other.

    Raises:
        TypeError: the column is of another type.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.string())
    if not _holds_labels(column.type):
        raise TypeError(f"labels of type {column.type}")
    # Distinct values are few, so each is turned into text once, in Python, by one readable rule.
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    names = pa.array([_text(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return names.take(encoded.indices)


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names: whole numbers by value, then all others alphabetically."""

    def key(name: str) -> tuple[int, int, str]:
        return (0, int(name), "") if _WHOLE_NUMBER.fullmatch(name) else (1, 0, name)

    return tuple(sorted(set(names), key=key))


def distinct(text: pa.Array) -> list[str]:
    """The distinct names in a text column, without null."""
    return [name for name in pc.unique(text).to_pylist() if name is not None]


def codes(text: pa.Array, class_names: Sequence[str]) -> NDArray[np.int64]:
    """int64 [N]: the position of each name in ``class_names``, -1 where null or unknown."""
    found = pc.index_in(text, value_set=pa.array(class_names, pa.string())).fill_null(-1)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)


def _holds_labels(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
        or pa.types.is_integer(type_)
        or pa.types.is_floating(type_)
        or pa.types.is_boolean(type_)
    )


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() else value
    text = str(value)
    return text if len(text) <= LONGEST_NAME else None

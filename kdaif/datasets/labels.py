"""Labels are names. Whatever type they are stored as, they are compared as text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.datasets.matrices import plain

LONGEST_NAME = 256
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")


@dataclass(frozen=True, eq=False)
class Names:
    """A column of N names, of which each is kept once.

    Attributes:
        distinct: the names in the order in which they first appear.
        codes: int32 [N], the place of each row's name among them, -1 where there is none.
    """

    distinct: tuple[str, ...]
    codes: NDArray[np.int32]

    @property
    def null(self) -> NDArray[np.bool_]:
        """Bool [N], rows without a name."""
        return np.asarray(self.codes < 0)

    def classes(self, class_names: Sequence[str]) -> NDArray[np.int32]:
        """int32 [N]: the position of each name in ``class_names``, -1 where null or unknown."""
        position = {name: place for place, name in enumerate(class_names)}
        # The last entry is that of code -1.
        table = np.array([*(position.get(name, -1) for name in self.distinct), -1], dtype=np.int32)
        return table[self.codes]

    def other_than(self, class_names: Sequence[str]) -> list[str]:
        """The names that are not among ``class_names``."""
        known = set(class_names)
        return [name for name in self.distinct if name not in known]

    def at(self, positions: NDArray[np.int64]) -> NDArray[np.object_]:
        """Object [M] of str, None where there is no name: the names of these rows (int64 [M])."""
        table = np.array([*self.distinct, None], dtype=object)
        return np.asarray(table[self.codes[positions]], dtype=object)


def read_names(column: Iterable[tuple[slice, pa.Array]], rows: int) -> Names:
    """A column of names, read run by run.

    Args:
        column: runs of rows, of a type that `holds_names`.
        rows: N.
    """
    found: dict[str, int] = {}
    codes = np.full(rows, -1, dtype=np.int32)
    for run, values in column:
        encoded = label_text(pa.chunked_array([values])).dictionary_encode()
        places = [found.setdefault(name, len(found)) for name in encoded.dictionary.to_pylist()]
        table = np.array([*places, -1], dtype=np.int32)
        codes[run] = table[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return Names(tuple(found), codes)


def holds_names(type_: pa.DataType) -> bool:
    """Whether `label_text` reads a column of this type."""
    return bool(pa.types.is_null(plain(type_))) or _holds_labels(plain(type_))


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

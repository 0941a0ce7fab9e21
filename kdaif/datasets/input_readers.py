"""The input columns of a run of rows as an array, and which of the rows cannot be used: one reader for each kind."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.datasets.categories import category_codes
from kdaif.datasets.columns import FEATURES, IMAGE, TEXT, Layout
from kdaif.datasets.hashing import content_hashes, text_hashes
from kdaif.datasets.matrices import as_text, from_lists, from_numbers, from_tensors
from kdaif.datasets.pictures import Headers, decode, picture_hashes
from kdaif.datasets.rows import InputSignature
from kdaif.datasets.texts import as_read, without_pieces
from kdaif.records import Inputs

_IF_NULLABLE = "fill it, or name the column in inputs.nullable_columns (--nullable) if null is a value"


class Run(NamedTuple):
    """A run of B rows.

    ``values`` are float32 [B, D] or uint8 [B, H, W, C], None of texts and of pictures that are not decoded; ``hashes``
    uint64 [B], by content; ``bad`` a mask, bool [B], for each of the reader's reasons.
    """

    values: NDArray[Any] | None
    hashes: NDArray[np.uint64]
    bad: tuple[NDArray[np.bool_], ...]


class Reason(NamedTuple):
    """Why rows cannot be used. One that ``refuses`` is not a matter of single rows."""

    code: str
    text: str
    refuses: bool = False


class InputReader(Protocol):
    """Reads runs in the order of the file. Its reasons are complete after the last one."""

    columns: tuple[str, ...]

    def read(self, rows: slice, batch: pa.RecordBatch) -> Run: ...  # noqa: D102, the class says it

    def reasons(self) -> tuple[Reason, ...]: ...  # noqa: D102, the class says it


def reader_of(layout: Layout, signature: InputSignature, inputs: Inputs, *, decode_pictures: bool) -> InputReader:
    """The reader of a data set.

    Args:
        layout: of its columns.
        signature: of the labelled set, which the layout matches.
        inputs: how texts are normalised, and whether pictures are scaled.
        decode_pictures: encoded pictures as pixels; else their headers and bytes alone are looked at.
    """
    if layout.pictures is not None:
        scaled = inputs.image_height is not None
        return _Pictures(layout.pictures, signature, scaled=scaled, decoded=decode_pictures)
    if signature.kind == "image":
        return _Tensors(signature)
    if signature.kind == "text":
        return _Texts(inputs)
    return _Vectors(signature) if signature.columns == (FEATURES,) else _Table(signature)


class _Table:
    def __init__(self, signature: InputSignature) -> None:
        self.columns = signature.columns
        width = len(signature.columns)
        self._categories = signature.categories or ((),) * width
        self._nullable = signature.nullable or (False,) * width
        self._with_null: set[int] = set()
        self._with_broken: set[int] = set()

    def read(self, rows: slice, batch: pa.RecordBatch) -> Run:
        matrix = np.empty((batch.num_rows, len(self.columns)), dtype=np.float32)
        null = np.zeros(len(matrix), dtype=np.bool_)
        broken = np.zeros(len(matrix), dtype=np.bool_)
        for position, values in enumerate(_of(batch, self.columns)):
            nullable, categories = self._nullable[position], self._categories[position]
            missing = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
            if categories:
                matrix[:, position] = category_codes(values, categories)
            else:
                numbers = from_numbers(values)
                matrix[:, position] = numbers
                bad = np.isinf(numbers) if nullable else ~np.isfinite(numbers)
                if missing is not None:
                    bad &= ~missing
                if bad.any():
                    broken |= bad
                    self._with_broken.add(position)
            if missing is not None and not nullable:
                null |= missing
                self._with_null.add(position)
        return Run(matrix, content_hashes(matrix), (null, broken))

    def reasons(self) -> tuple[Reason, ...]:
        return (
            Reason("NULL_FEATURE", f"null in {self._listed(self._with_null)}; {_IF_NULLABLE}"),
            Reason("NON_FINITE_FEATURE", f"NaN or infinity in {self._listed(self._with_broken)}"),
        )

    def _listed(self, positions: set[int]) -> str:
        names = [self.columns[position] for position in sorted(positions)]
        shown = ", ".join(repr(name) for name in names[:5])
        return f"{shown} and {len(names) - 5} more columns" if len(names) > 5 else shown


class _Vectors:
    columns: tuple[str, ...] = (FEATURES,)

    def __init__(self, signature: InputSignature) -> None:
        self._width = signature.shape[0]

    def read(self, rows: slice, batch: pa.RecordBatch) -> Run:
        (lists,) = _of(batch, self.columns)
        matrix, missing, misfit = from_lists(lists, self._width)
        broken = np.asarray(~np.isfinite(matrix).all(axis=1))
        return Run(matrix, content_hashes(matrix), (missing, broken, misfit))

    def reasons(self) -> tuple[Reason, ...]:
        differ = f"'features' lists differ in length; all must hold {self._width} numbers"
        return (
            Reason("NULL_FEATURE", "'features' is null"),
            Reason("NON_FINITE_FEATURE", "NaN or infinity in 'features'"),
            Reason("WRONG_LENGTH", differ, refuses=True),
        )


class _Tensors:
    columns: tuple[str, ...] = (IMAGE,)

    def __init__(self, signature: InputSignature) -> None:
        self._shape = signature.shape

    def read(self, rows: slice, batch: pa.RecordBatch) -> Run:
        (tensors,) = _of(batch, self.columns)
        images, missing = from_tensors(tensors, self._shape)
        return Run(images, content_hashes(images), (missing,))

    def reasons(self) -> tuple[Reason, ...]:
        return (Reason("NULL_FEATURE", "'image' is null"),)


class _Texts:
    columns: tuple[str, ...] = (TEXT,)

    def __init__(self, inputs: Inputs) -> None:
        self._lower_case = inputs.lower_case

    def read(self, rows: slice, batch: pa.RecordBatch) -> Run:
        (values,) = _of(batch, self.columns)
        texts = as_text(values)
        read = as_read(texts, lower_case=self._lower_case)
        null = texts.is_null().to_numpy(zero_copy_only=False)
        return Run(None, text_hashes(read), (null, without_pieces(read) & ~null))

    def reasons(self) -> tuple[Reason, ...]:
        return (
            Reason("NULL_FEATURE", "'text' is null"),
            Reason("EMPTY_TEXT", "'text' is empty, or blanks and control characters alone"),
        )


class _Pictures:
    columns: tuple[str, ...] = (IMAGE,)

    def __init__(self, headers: Headers, signature: InputSignature, *, scaled: bool, decoded: bool) -> None:
        height, width, channels = signature.shape
        usable = headers.shapes[:, 0] > 0
        self._other = usable & (headers.shapes[:, 2] != channels)
        if not scaled:
            self._other |= usable & ((headers.shapes[:, 0] != height) | (headers.shapes[:, 1] != width))
        self._wanted = usable & ~self._other
        self._headers, self._shape, self._scaled, self._decoded = headers, signature.shape, scaled, decoded
        self._late: Counter[str] = Counter()

    def read(self, rows: slice, batch: pa.RecordBatch) -> Run:
        (values,) = _of(batch, self.columns)
        null, broken, other = self._headers.null[rows], self._headers.broken[rows], self._other[rows]
        if not self._decoded:
            return Run(None, picture_hashes(values), (null, broken, other))
        images, late, reasons = decode(values, self._wanted[rows], self._shape)
        self._late.update(reasons)
        return Run(images, content_hashes(images), (null, broken | late, other))

    def reasons(self) -> tuple[Reason, ...]:
        height, width, channels = self._shape
        broken = dict.fromkeys((*self._headers.reasons, *(reason for reason, _ in self._late.most_common(3))))
        colours = {1: "grey", 3: "RGB"}[channels]
        size = "" if self._scaled else f"{height} x {width} and "
        fix = "make them alike, or give inputs.image_height and inputs.image_width"
        fix = "save all in one mode" if self._scaled else fix
        return (
            Reason("NULL_FEATURE", "'image' is null"),
            Reason("BAD_IMAGE", f"'image' is {'; or '.join(broken)}"),
            Reason("OTHER_IMAGE_SIZE", f"'image' is not {size}{colours} as most of the labelled rows; {fix}"),
        )


def _of(batch: pa.RecordBatch, columns: tuple[str, ...]) -> list[pa.Array]:
    return [batch.column(batch.schema.get_field_index(name)) for name in columns]

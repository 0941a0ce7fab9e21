"""The input columns of one data set as an array; rows that cannot be used are rejected by name."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.datasets import pictures
from kdaif.datasets.categories import category_codes
from kdaif.datasets.columns import FEATURES, IMAGE, TEXT, Layout
from kdaif.datasets.findings import Findings, first_ids
from kdaif.datasets.matrices import from_lists, from_numbers, from_tensors
from kdaif.datasets.parquet import MOST_BYTES
from kdaif.datasets.part import Part, read_ids
from kdaif.datasets.pictures import Headers
from kdaif.datasets.rows import InputSignature
from kdaif.datasets.texts import read_texts
from kdaif.records import Inputs

_IF_NULLABLE = "fill it, or name the column in inputs.nullable_columns if null is a value"


class _Rejection(NamedTuple):
    rows: NDArray[np.bool_]  # [N]
    code: str
    reason: str


def read_part(
    table: pa.Table,
    layout: Layout,
    signature: InputSignature,
    inputs: Inputs,
    field: str,
    findings: Findings,
    *,
    decode_pictures: bool,
) -> Part | None:
    """Reads ids and inputs of one data set in the column order of ``signature``.

    Args:
        table: the file as read.
        layout: of its columns.
        signature: of the labelled set, which the layout matches.
        inputs: how texts are normalised, and whether pictures are scaled.
        field: what findings call the data set.
        findings: receives what is wrong.
        decode_pictures: encoded pictures as pixels; else as bytes, of which only the header was read.

    Returns:
        None when ids or inputs cannot be read at all; ``findings`` says why.
    """
    ids = read_ids(table, field, findings)
    if ids is None:
        return None
    if layout.pictures is not None and not _fit_memory(len(ids), signature.shape, field, findings):
        return None
    misfit = np.zeros(len(ids), dtype=np.bool_)
    features: NDArray[Any]
    if layout.pictures is not None:
        scaled = inputs.image_height is not None
        features, rejections = _from_pictures(table[IMAGE], layout.pictures, signature, scaled, decode_pictures)
    elif signature.kind == "image":
        features, missing = from_tensors(table[IMAGE], signature.shape)
        rejections = [_Rejection(missing, "NULL_FEATURE", "'image' is null")]
    elif signature.kind == "text":
        features, rejections = _from_texts(table[TEXT], inputs)
    elif signature.columns == (FEATURES,):
        features, rejections, misfit = _from_vectors(table[FEATURES], signature.shape[0])
    else:
        features, rejections = _from_table(table, signature)
    if misfit.any():
        findings.refuse(
            "WRONG_LENGTH",
            field,
            f"'features' lists differ in length; all must hold {signature.shape[0]} numbers",
            int(misfit.sum()),
            first_ids(ids, misfit),
        )
        return None
    part = Part(field, table, ids, features, np.ones(len(ids), dtype=np.bool_), {})
    for name in layout.groups:
        text = part.text(name, findings)
        if text is not None:
            part.groups[name] = text.to_numpy(zero_copy_only=False)
    for rejection in rejections:
        part.reject(rejection.rows, rejection.code, rejection.reason, findings)
    return part


def _from_table(table: pa.Table, signature: InputSignature) -> tuple[NDArray[np.float32], list[_Rejection]]:
    matrix = np.empty((table.num_rows, len(signature.columns)), dtype=np.float32)
    null = np.zeros(len(matrix), dtype=np.bool_)
    broken = np.zeros(len(matrix), dtype=np.bool_)
    with_null, with_broken = [], []
    for position, name in enumerate(signature.columns):
        column = table[name]
        nullable = bool(signature.nullable) and signature.nullable[position]
        categories = signature.categories[position] if signature.categories else ()
        missing = column.is_null().to_numpy() if column.null_count else None
        if categories:
            matrix[:, position] = category_codes(column, categories)
        else:
            matrix[:, position] = from_numbers(column)
            bad = np.isinf(matrix[:, position]) if nullable else ~np.isfinite(matrix[:, position])
            if missing is not None:
                bad &= ~missing
            if bad.any():
                broken |= bad
                with_broken.append(name)
        if missing is not None and not nullable:
            null |= missing
            with_null.append(name)
    return matrix, [
        _Rejection(null, "NULL_FEATURE", f"null in {_listed(with_null)}; {_IF_NULLABLE}"),
        _Rejection(broken, "NON_FINITE_FEATURE", f"NaN or infinity in {_listed(with_broken)}"),
    ]


def _from_vectors(
    column: pa.ChunkedArray, width: int
) -> tuple[NDArray[np.float32], list[_Rejection], NDArray[np.bool_]]:
    matrix, missing, misfit = from_lists(column, width)
    broken = np.asarray(~np.isfinite(matrix).all(axis=1))
    return (
        matrix,
        [
            _Rejection(missing, "NULL_FEATURE", "'features' is null"),
            _Rejection(broken, "NON_FINITE_FEATURE", "NaN or infinity in 'features'"),
        ],
        misfit,
    )


def _from_texts(column: pa.ChunkedArray, inputs: Inputs) -> tuple[NDArray[np.object_], list[_Rejection]]:
    texts, pieceless = read_texts(column, lower_case=inputs.lower_case)
    return texts, [
        _Rejection(column.is_null().to_numpy(), "NULL_FEATURE", "'text' is null"),
        _Rejection(pieceless, "EMPTY_TEXT", "'text' is empty, or blanks and control characters alone"),
    ]


def _from_pictures(
    column: pa.ChunkedArray, headers: Headers, signature: InputSignature, scaled: bool, decode: bool
) -> tuple[NDArray[Any], list[_Rejection]]:
    height, width, channels = signature.shape
    usable = headers.shapes[:, 0] > 0
    other = usable & (headers.shapes[:, 2] != channels)
    if not scaled:
        other |= usable & ((headers.shapes[:, 0] != height) | (headers.shapes[:, 1] != width))
    broken, reasons = headers.broken, headers.reasons
    features: NDArray[Any]
    if decode:
        features, late, more = pictures.decode(column, usable & ~other, signature.shape)
        broken, reasons = broken | late, tuple(dict.fromkeys((*reasons, *more)))
    else:
        features = pictures.cells(column)
    colours = {1: "grey", 3: "RGB"}[channels]
    fix = "save all in one mode" if scaled else "make them alike, or give inputs.image_height and inputs.image_width"
    size = "" if scaled else f"{height} x {width} and "
    return features, [
        _Rejection(headers.null, "NULL_FEATURE", "'image' is null"),
        _Rejection(broken, "BAD_IMAGE", f"'image' is {'; or '.join(reasons)}"),
        _Rejection(other, "OTHER_IMAGE_SIZE", f"'image' is not {size}{colours} as most of the labelled rows; {fix}"),
    ]


def _fit_memory(rows: int, shape: tuple[int, ...], field: str, findings: Findings) -> bool:
    fits = rows * int(np.prod(shape)) <= MOST_BYTES
    if not fits:
        findings.refuse(
            "TOO_LARGE",
            field,
            f"{rows} pictures of shape {shape} take over {MOST_BYTES // 2**30} GiB of memory; give "
            "inputs.image_height and inputs.image_width to scale them down, or fewer rows",
            rows,
        )
    return fits


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return f"{shown} and {len(names) - 5} more columns" if len(names) > 5 else shown

"""What each column of a data set is for, decided by name and type alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from kdaif.datasets.findings import Findings
from kdaif.datasets.matrices import is_list, is_number, list_length
from kdaif.datasets.rows import InputSignature

ID = "id"
LABEL = "label"
TRUTH = "truth"
IMAGE = "image"
FEATURES = "features"
TEACHER = ("teacher_logits", "teacher_probabilities", "teacher_label")
GROUP_PREFIX = "group_"
WEIGHT_OVERRIDE = "weight_override"
# pandas stores a non-trivial index under this name. It is bookkeeping: as a feature it would leak the row order.
PANDAS_INDEX = "__index_level_"

MOST_FEATURES = 10_000
MOST_CHANNELS = 4


@dataclass(frozen=True)
class Layout:
    """The columns of one data set by use: the input, and what is not used."""

    signature: InputSignature
    groups: tuple[str, ...]


def read_layout(table: pa.Table, field: str, findings: Findings) -> Layout | None:
    """Finds the input columns of a data set.

    Returns:
        None when the columns make no input; ``findings`` says why.
    """
    schema = table.schema
    if repeated := sorted(name for name, count in Counter(schema.names).items() if count > 1):
        findings.refuse("DUPLICATE_COLUMN", field, f"{_quoted(repeated)} given more than once; name every column once")
        return None
    if index := [name for name in schema.names if name.startswith(PANDAS_INDEX)]:
        findings.info("INDEX_COLUMN_IGNORED", field, f"{_quoted(index)} is the index of a pandas frame and is not used")
    groups = tuple(name for name in schema.names if name.startswith(GROUP_PREFIX))
    candidates = [name for name in schema.names if not _is_reserved(name)]
    signature = _signature(table, candidates, field, findings)
    return Layout(signature, groups) if signature else None


def _is_reserved(name: str) -> bool:
    reserved = name in (ID, LABEL, TRUTH, WEIGHT_OVERRIDE, *TEACHER)
    return reserved or name.startswith((GROUP_PREFIX, PANDAS_INDEX))


def _signature(table: pa.Table, names: list[str], field: str, findings: Findings) -> InputSignature | None:
    single = next((name for name in (IMAGE, FEATURES) if name in names), None)
    if single and len(names) > 1:
        others = [name for name in names if name != single]
        findings.refuse(
            "MIXED_FEATURES", field, f"{single!r} is the whole input, so {_quoted(others)} would be lost; remove them"
        )
        return None
    if single == IMAGE:
        return _image_signature(table.schema.field(IMAGE).type, field, findings)
    if single == FEATURES:
        return _vector_signature(table[FEATURES], field, findings)
    return _table_signature(table.schema, names, field, findings)


def _table_signature(schema: pa.Schema, names: list[str], field: str, findings: Findings) -> InputSignature | None:
    if unusable := [name for name in names if not is_number(schema.field(name).type)]:
        types = ", ".join(f"{name!r} ({schema.field(name).type})" for name in unusable[:10])
        findings.refuse(
            "UNSUPPORTED_COLUMN",
            field,
            f"{len(unusable)} columns are neither numbers nor known by name: {types}; encode them as numbers, rename "
            "them to group_... or remove them",
        )
        return None
    if not names:
        findings.refuse(
            "NO_FEATURES", field, "no input columns; add number columns, one 'features' list or one 'image' tensor"
        )
        return None
    if not _narrow_enough(len(names), field, findings):
        return None
    return InputSignature("numeric", (len(names),), tuple(names))


def _vector_signature(column: pa.ChunkedArray, field: str, findings: Findings) -> InputSignature | None:
    if not is_list(column.type) or not is_number(column.type.value_type):
        findings.refuse(
            "UNSUPPORTED_COLUMN", field, f"'features' is {column.type}; store one list of floats per row, equally long"
        )
        return None
    width = list_length(column)
    if not width:
        findings.refuse("NO_FEATURES", field, "'features' holds no numbers in any row; fill it")
        return None
    if not _narrow_enough(width, field, findings):
        return None
    return InputSignature("numeric", (width,), (FEATURES,))


def _image_signature(type_: pa.DataType, field: str, findings: Findings) -> InputSignature | None:
    wanted = "store it as an arrow.fixed_shape_tensor of uint8 with shape (H, W) or (H, W, C)"
    if not isinstance(type_, pa.FixedShapeTensorType):
        why = " and does not say its height and width" if is_list(type_) else ""
        findings.refuse("IMAGE_TYPE", field, f"'image' is {type_}{why}; {wanted}")
        return None
    shape = tuple(type_.shape)
    if type_.value_type != pa.uint8() or len(shape) not in (2, 3) or 0 in shape:
        findings.refuse("IMAGE_TYPE", field, f"'image' is a tensor of {type_.value_type} with shape {shape}; {wanted}")
        return None
    if type_.permutation is not None and list(type_.permutation) != sorted(type_.permutation):
        findings.refuse("IMAGE_TYPE", field, f"'image' is stored with permuted axes {type_.permutation}; {wanted}")
        return None
    if len(shape) == 3 and shape[2] > MOST_CHANNELS:
        findings.refuse(
            "IMAGE_TYPE", field, f"'image' has shape {shape}, so {shape[2]} channels; channels come last: {wanted}"
        )
        return None
    return InputSignature("image", shape if len(shape) == 3 else (*shape, 1), (IMAGE,))


def _narrow_enough(width: int, field: str, findings: Findings) -> bool:
    if width > MOST_FEATURES:
        findings.refuse(
            "TOO_WIDE", field, f"{width} features where at most {MOST_FEATURES} are allowed; reduce them first"
        )
    return width <= MOST_FEATURES


def match_signature(found: InputSignature, wanted: InputSignature, field: str, findings: Findings) -> bool:
    """Whether a data set can be read as the labelled set is: same kind and shape, columns found by name."""
    if _is_table(found) and _is_table(wanted):
        if missing := [name for name in wanted.columns if name not in set(found.columns)]:
            findings.refuse(
                "MISSING_COLUMNS", field, f"lacks {_quoted(missing)}, which the labelled set has; add or rename them"
            )
        if extra := [name for name in found.columns if name not in set(wanted.columns)]:
            findings.warn("EXTRA_COLUMNS", field, f"{_quoted(extra)} not in the labelled set and therefore not used")
        return not missing
    if (found.kind, found.shape, found.columns) != (wanted.kind, wanted.shape, wanted.columns):
        findings.refuse(
            "OTHER_SHAPE",
            field,
            f"rows are {_shape(found)} but those of the labelled set are {_shape(wanted)}; make them alike",
        )
        return False
    return True


def _is_table(signature: InputSignature) -> bool:
    return signature.kind == "numeric" and signature.columns != (FEATURES,)


def _shape(signature: InputSignature) -> str:
    source = "number columns" if _is_table(signature) else repr(signature.columns[0])
    return f"{source} of shape {signature.shape}"


def _quoted(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown

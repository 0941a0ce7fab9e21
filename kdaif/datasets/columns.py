"""What each column of a data set is for, decided by name and type alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from kdaif.datasets.findings import Findings
from kdaif.datasets.matrices import is_binary, is_list, is_number, is_text, list_length, plain
from kdaif.datasets.pictures import Headers, read_headers
from kdaif.datasets.rows import InputSignature
from kdaif.datasets.table_file import TableFile
from kdaif.records import Inputs

ID = "id"
LABEL = "label"
TRUTH = "truth"
IMAGE = "image"
TEXT = "text"
FEATURES = "features"
TEACHER = ("teacher_logits", "teacher_probabilities", "teacher_label")
GROUP_PREFIX = "group_"
WEIGHT_OVERRIDE = "weight_override"
# pandas stores a non-trivial index under this name. It is bookkeeping: as a feature it would leak the row order.
PANDAS_INDEX = "__index_level_"

MOST_FEATURES = 10_000
MOST_CHANNELS = 4

# ``number`` is read as it is. Of the others each distinct value is a category, under its text.
Family = Literal["number", "string", "integer", "boolean"]


@dataclass(frozen=True)
class Layout:
    """The columns of one data set by use.

    Attributes:
        signature: of the input, yet without categories, nullable columns and tokenizer.
        groups: names of the group columns.
        families: of a table, by column of the signature.
        pictures: of encoded pictures, what their headers say.
    """

    signature: InputSignature
    groups: tuple[str, ...]
    families: tuple[Family, ...] = ()
    pictures: Headers | None = None


def read_layout(file: TableFile, inputs: Inputs, findings: Findings) -> Layout | None:
    """Finds the input columns of a data set.

    Returns:
        None when the columns make no input; ``findings`` says why.
    """
    schema, field = file.schema, file.field
    if repeated := sorted(name for name, count in Counter(schema.names).items() if count > 1):
        findings.refuse("DUPLICATE_COLUMN", field, f"{quoted(repeated)} given more than once; name every column once")
        return None
    if index := [name for name in schema.names if name.startswith(PANDAS_INDEX)]:
        findings.info("INDEX_COLUMN_IGNORED", field, f"{quoted(index)} is the index of a pandas frame and is not used")
    groups = tuple(name for name in schema.names if name.startswith(GROUP_PREFIX))
    names = [name for name in schema.names if not _is_reserved(name)]
    single = next((name for name in (IMAGE, TEXT, FEATURES) if name in names), None)
    if single and len(names) > 1:
        others = [name for name in names if name != single]
        findings.refuse(
            "MIXED_FEATURES", field, f"{single!r} is the whole input, so {quoted(others)} would be lost; remove them"
        )
        return None
    if single == IMAGE and is_binary(plain(schema.field(IMAGE).type)):
        return _pictures_layout(file, inputs, groups, findings)
    if single is None:
        return _table_layout(schema, names, inputs, groups, field, findings)
    if single == IMAGE:
        signature = _image_signature(schema.field(IMAGE).type, field, findings)
    elif single == TEXT:
        signature = _text_signature(schema.field(TEXT).type, inputs, field, findings)
    else:
        signature = _vector_signature(file, findings)
    return Layout(signature, groups) if signature else None


def _is_reserved(name: str) -> bool:
    reserved = name in (ID, LABEL, TRUTH, WEIGHT_OVERRIDE, *TEACHER)
    return reserved or name.startswith((GROUP_PREFIX, PANDAS_INDEX))


def _table_layout(
    schema: pa.Schema, names: list[str], inputs: Inputs, groups: tuple[str, ...], field: str, findings: Findings
) -> Layout | None:
    named = set(inputs.categorical_columns)
    families = {name: _family(schema.field(name).type, name in named) for name in names}
    if unusable := [name for name in names if families[name] is None]:
        types = ", ".join(f"{name!r} ({schema.field(name).type})" for name in unusable[:10])
        findings.refuse(
            "UNSUPPORTED_COLUMN",
            field,
            f"{len(unusable)} columns are neither numbers, text, booleans nor known by name: {types}; encode them as "
            "one of these, rename them to group_... or remove them",
        )
        return None
    if not names:
        findings.refuse(
            "NO_FEATURES",
            field,
            "no input columns; add columns of numbers or text, one 'features' list, one 'text' or one 'image'",
        )
        return None
    if not _narrow_enough(len(names), field, findings):
        return None
    known = tuple(family for family in families.values() if family is not None)
    return Layout(InputSignature("numeric", (len(names),), tuple(names)), groups, known)


def _family(type_: pa.DataType, named: bool) -> Family | None:
    value = plain(type_)
    if is_text(value):
        return "string"
    if pa.types.is_boolean(value):
        return "boolean"
    if named and pa.types.is_integer(value):
        return "integer"
    return "number" if is_number(type_) else None


def _vector_signature(file: TableFile, findings: Findings) -> InputSignature | None:
    field, type_ = file.field, file.schema.field(FEATURES).type
    if not is_list(type_) or not is_number(type_.value_type):
        findings.refuse(
            "UNSUPPORTED_COLUMN", field, f"'features' is {type_}; store one list of floats per row, equally long"
        )
        return None
    width = next(filter(None, (list_length(lists) for _, lists in file.column(FEATURES))), 0)
    if not width:
        findings.refuse("NO_FEATURES", field, "'features' holds no numbers in any row; fill it")
        return None
    if not _narrow_enough(width, field, findings):
        return None
    return InputSignature("numeric", (width,), (FEATURES,))


def _text_signature(type_: pa.DataType, inputs: Inputs, field: str, findings: Findings) -> InputSignature | None:
    if not is_text(plain(type_)):
        findings.refuse(
            "TEXT_TYPE",
            field,
            f"'text' is the whole input and is {type_}; store one string per row, or rename it if it is no text",
        )
        return None
    return InputSignature("text", (inputs.max_tokens,), (TEXT,))


def _image_signature(type_: pa.DataType, field: str, findings: Findings) -> InputSignature | None:
    wanted = "store it as PNG or JPEG bytes, or as an arrow.fixed_shape_tensor of uint8 with shape (H, W) or (H, W, C)"
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


def _pictures_layout(file: TableFile, inputs: Inputs, groups: tuple[str, ...], findings: Findings) -> Layout | None:
    headers = read_headers(file.column(IMAGE), file.num_rows)
    shape = headers.commonest_shape()
    if shape is None:
        why = f": {headers.reasons[0]}" if headers.reasons else ""
        findings.refuse("NO_FEATURES", file.field, f"'image' holds no readable PNG or JPEG picture in any row{why}")
        return None
    if inputs.image_height is not None and inputs.image_width is not None:
        shape = (inputs.image_height, inputs.image_width, shape[2])
    return Layout(InputSignature("image", shape, (IMAGE,)), groups, pictures=headers)


def _narrow_enough(width: int, field: str, findings: Findings) -> bool:
    if width > MOST_FEATURES:
        findings.refuse(
            "TOO_WIDE", field, f"{width} features where at most {MOST_FEATURES} are allowed; reduce them first"
        )
    return width <= MOST_FEATURES


def quoted(names: Sequence[str]) -> str:
    """Names for a message, the first ten of them."""
    shown = ", ".join(repr(name) for name in names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown

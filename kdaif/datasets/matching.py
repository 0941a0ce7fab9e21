"""Whether the columns are what the spec says of them, and alike in all data sets of a job."""

from __future__ import annotations

import pyarrow as pa

from kdaif.datasets.columns import FEATURES, Layout, quoted
from kdaif.datasets.findings import Findings
from kdaif.datasets.rows import InputSignature
from kdaif.records import InputKind, Inputs

_KIND_OF_OPTION: dict[str, tuple[InputKind, str]] = {
    "max_categories": ("numeric", "tables"),
    "vocabulary_size": ("text", "texts"),
    "max_tokens": ("text", "texts"),
    "lower_case": ("text", "texts"),
}


def check_inputs(inputs: Inputs, layout: Layout, schema: pa.Schema, findings: Findings) -> None:
    """Refuses what ``spec.inputs`` says of columns that are not there or that cannot be so (``schema``: the file's)."""
    family = dict(zip(layout.signature.columns, layout.families, strict=bool(layout.families)))
    for option in ("categorical_columns", "nullable_columns"):
        if unknown := [name for name in getattr(inputs, option) if name not in family]:
            findings.refuse(
                "UNKNOWN_COLUMN",
                f"spec.inputs.{option}",
                f"{quoted(unknown)} is no column of the labelled set's table of inputs; correct the name or remove it",
            )
    if numbers := [name for name in inputs.categorical_columns if family.get(name) == "number"]:
        types = ", ".join(f"{name!r} ({schema.field(name).type})" for name in numbers[:10])
        findings.refuse(
            "NOT_CATEGORICAL",
            "spec.inputs.categorical_columns",
            f"{types}: only integers, text and booleans are categories; store it as one of these or remove the name",
        )
    _refuse_unused(inputs, layout.signature.kind, findings)
    if inputs.image_height is not None and layout.pictures is None:
        findings.refuse(
            "IMAGE_SIZE_NOT_USED",
            "spec.inputs.image_height",
            "only PNG and JPEG pictures are scaled, and the labelled set holds none; remove image_height and "
            "image_width",
        )


def _refuse_unused(inputs: Inputs, kind: InputKind, findings: Findings) -> None:
    """An option that says something, of rows that it says nothing of, would be lost without a word."""
    for option, (of_kind, called) in _KIND_OF_OPTION.items():
        given, default = getattr(inputs, option), type(inputs).model_fields[option].default
        if kind != of_kind and given != default:
            findings.refuse(
                "OPTION_NOT_USED",
                f"spec.inputs.{option}",
                f"is {given!r}, and has no effect: it is for {called}, which the labelled set is not; leave it out",
            )


def match_layout(found: Layout, wanted: Layout, field: str, findings: Findings) -> bool:
    """Whether a data set can be read as the labelled set is: same kind and shape, columns found by name."""
    own, labeled = found.signature, wanted.signature
    if _is_table(own) and _is_table(labeled):
        there, here = set(own.columns), set(labeled.columns)
        if missing := [name for name in labeled.columns if name not in there]:
            findings.refuse(
                "MISSING_COLUMNS", field, f"lacks {quoted(missing)}, which the labelled set has; add or rename them"
            )
        if extra := [name for name in own.columns if name not in here]:
            findings.warn("EXTRA_COLUMNS", field, f"{quoted(extra)} not in the labelled set and therefore not used")
        return _same_families(found, wanted, field, findings) and not missing
    same_storage = (found.pictures is None) == (wanted.pictures is None)
    if (own.kind, own.shape, own.columns) != (labeled.kind, labeled.shape, labeled.columns) or not same_storage:
        findings.refuse(
            "OTHER_SHAPE",
            field,
            f"rows are {_shape(found)} but those of the labelled set are {_shape(wanted)}; make them alike",
        )
        return False
    return True


def _same_families(found: Layout, wanted: Layout, field: str, findings: Findings) -> bool:
    own = dict(zip(found.signature.columns, found.families, strict=True))
    differing = [
        f"{name!r} ({own[name]}, there {family})"
        for name, family in zip(wanted.signature.columns, wanted.families, strict=True)
        if own.get(name, family) != family
    ]
    if differing:
        more = f" and {len(differing) - 10} more" if len(differing) > 10 else ""
        findings.refuse(
            "OTHER_COLUMN_TYPE",
            field,
            f"{', '.join(differing[:10])}{more}: of another type than in the labelled set; store both alike",
        )
    return not differing


def _is_table(signature: InputSignature) -> bool:
    return signature.kind == "numeric" and signature.columns != (FEATURES,)


def _shape(layout: Layout) -> str:
    signature = layout.signature
    source = "columns" if _is_table(signature) else repr(signature.columns[0])
    encoded = "encoded " if layout.pictures is not None else ""
    return f"{encoded}{source} of shape {signature.shape}"

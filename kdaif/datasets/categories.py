"""Columns of names as numbers: the categories of a column, and the code of each value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.datasets.columns import Layout, quoted
from kdaif.datasets.findings import Findings, first_ids
from kdaif.datasets.matrices import as_text
from kdaif.datasets.part import Part
from kdaif.datasets.rows import InputSignature
from kdaif.records import Inputs

# A name travels in the manifest of every student. What is longer is a text, not a category.
LONGEST_CATEGORY_BYTES = 256


def with_categories(layout: Layout, tables: Sequence[pa.Table], inputs: Inputs, findings: Findings) -> InputSignature:
    """The signature of a table with its categories and nullable columns.

    Args:
        layout: of the labelled set.
        tables: labelled and unlabelled rows, which decide the categories together.
        inputs: how many categories a column may have, and which columns are nullable.
        findings: receives what cannot be, and which columns have more categories than are kept.
    """
    signature = layout.signature
    named = set(inputs.nullable_columns)
    nullable = tuple(name in named for name in signature.columns)
    if any(nullable):
        signature = replace(signature, nullable=nullable)
    if all(family == "number" for family in layout.families):
        return signature
    chosen: list[tuple[str, ...]] = []
    for name, family in zip(signature.columns, layout.families, strict=True):
        if family == "number":
            chosen.append(())
            continue
        names, left_out = _commonest([table[name] for table in tables], inputs.max_categories)
        chosen.append(names)
        if not names:
            findings.refuse(
                "NO_CATEGORIES", "spec.labeled", f"{name!r} holds no category in any row; fill it or remove it"
            )
        if left_out:
            findings.warn(
                "MANY_CATEGORIES",
                "spec.inputs.max_categories",
                f"{name!r} holds {len(names) + left_out} different values; {left_out} of them, the rarest or those of "
                f"over {LONGEST_CATEGORY_BYTES} bytes, are taken together as code 0",
            )
    return replace(signature, categories=tuple(chosen))


def _commonest(columns: Sequence[pa.ChunkedArray], most: int) -> tuple[tuple[str, ...], int]:
    """The names of the most frequent values, sorted, and how many values are left out. Ties are broken by name."""
    counts: Counter[str] = Counter()
    for column in columns:
        found = pc.value_counts(as_text(column).drop_null())
        counts.update(dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)))
    usable = [name for name in counts if len(name.encode()) <= LONGEST_CATEGORY_BYTES]
    kept = sorted(usable, key=lambda name: (-counts[name], name))[:most]
    return tuple(sorted(kept)), len(counts) - len(kept)


def category_codes(column: pa.ChunkedArray, categories: tuple[str, ...]) -> NDArray[np.float32]:
    """float32 [N]: position in ``categories`` plus 1, and 0 for null and for every other value."""
    found = pc.index_in(as_text(column), value_set=pa.array(categories, pa.large_string())).fill_null(-1)
    positions: NDArray[Any] = found.to_numpy()
    return (positions + 1).astype(np.float32)


def report_unseen(part: Part, signature: InputSignature, findings: Findings) -> None:
    """Tells of values that are none of the categories. They have code 0, as they will have at the edge."""
    unseen = np.zeros(len(part.keep), dtype=np.bool_)
    columns = []
    for position, categories in enumerate(signature.categories):
        if categories:
            name = signature.columns[position]
            other = part.keep & (part.features[:, position] == 0) & part.table[name].is_valid().to_numpy()
            if other.any():
                columns.append(name)
                unseen |= other
    if columns:
        findings.info(
            "UNSEEN_CATEGORY",
            part.field,
            f"values of {quoted(columns)} are none of the categories of the labelled and unlabelled rows; taken as "
            "code 0",
            int(unseen.sum()),
            first_ids(part.ids, unseen),
        )

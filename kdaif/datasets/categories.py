"""Columns of names as numbers: the categories of a column, and the code of each value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
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
from kdaif.datasets.table_file import TableFile
from kdaif.records import Inputs

# A name travels in the manifest of every student. What is longer is a text, not a category.
LONGEST_CATEGORY_BYTES = 256
_COUNTED_AT_ONCE = 500_000


def with_categories(layout: Layout, files: Sequence[TableFile], inputs: Inputs, findings: Findings) -> InputSignature:
    """The signature of a table with its categories and nullable columns.

    Args:
        layout: of the labelled set.
        files: labelled and unlabelled rows, which decide the categories together.
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
        names, left_out = _commonest(chain.from_iterable(file.column(name) for file in files), inputs.max_categories)
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


def _commonest(column: Iterable[tuple[slice, pa.Array]], most: int) -> tuple[tuple[str, ...], int]:
    """The names of the most frequent values, sorted, and how many values are left out. Ties are broken by name."""
    counts, pending = _counted([]), []
    for _, values in column:
        found = pc.value_counts(as_text(values).drop_null())
        pending.append(pa.table({"name": found.field("values"), "count": found.field("counts")}))
        if sum(map(len, pending)) > max(_COUNTED_AT_ONCE, len(counts)):
            counts, pending = _counted([counts, *pending]), []
    counts = _counted([counts, *pending])
    usable = counts.filter(pc.less_equal(pc.binary_length(counts["name"]), LONGEST_CATEGORY_BYTES))
    order = [("count", "descending"), ("name", "ascending")]
    # Bytes of UTF-8 are in the order of their code points, which is Python's order of texts.
    kept = usable["name"].take(pc.select_k_unstable(usable, min(most, len(usable)), order)).to_pylist()
    return tuple(sorted(kept)), len(counts) - len(kept)


def _counted(tables: Sequence[pa.Table]) -> pa.Table:
    """Names with how often they were seen, each name once."""
    if not tables:
        return pa.table({"name": pa.array([], pa.large_string()), "count": pa.array([], pa.int64())})
    sums = pa.concat_tables(tables).group_by("name", use_threads=False).aggregate([("count", "sum")])
    return sums.rename_columns(["count" if name == "count_sum" else name for name in sums.column_names])


def category_codes(values: pa.Array, categories: tuple[str, ...]) -> NDArray[np.float32]:
    """float32 [N]: position in ``categories`` plus 1, and 0 for null and for every other value."""
    found = pc.index_in(as_text(values), value_set=pa.array(categories, pa.large_string())).fill_null(-1)
    positions: NDArray[Any] = found.to_numpy(zero_copy_only=False)
    return (positions + 1).astype(np.float32)


def report_unseen(part: Part, signature: InputSignature, findings: Findings) -> None:
    """Tells of values that are none of the categories. They have code 0, as they will have at the edge."""
    unseen = np.zeros(len(part.keep), dtype=np.bool_)
    columns = []
    for name, categories in zip(signature.columns, signature.categories, strict=bool(signature.categories)):
        if not categories:
            continue
        other = np.zeros(len(part.keep), dtype=np.bool_)
        for run, values in part.file.column(name):
            valid = values.is_valid().to_numpy(zero_copy_only=False)
            other[run] = part.keep[run] & valid & (category_codes(values, categories) == 0)
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

"""One data set on its way to becoming rows: ids read, bad rows marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.datasets.columns import ID
from kdaif.datasets.findings import IDS_SHOWN, Findings, first_ids
from kdaif.datasets.labels import label_text
from kdaif.datasets.matrices import is_text, plain

LONGEST_ID_BYTES = 512


@dataclass
class Part:
    """A data set with the mask of the rows still in use.

    Attributes:
        field: what findings call it, such as ``spec.labeled``.
        table: the file as read.
        ids: [N] int64 or string, unique.
        features: float32 [N, D], uint8 [N, H, W, C], or object [N] of the texts (encoded when all is checked) or of
            encoded pictures (where they need not be decoded).
        keep: bool [N], rows that are neither rejected nor dropped.
        groups: object [N] of str, None where null, by group column.
    """

    field: str
    table: pa.Table
    ids: pa.Array
    features: NDArray[Any]
    keep: NDArray[np.bool_]
    groups: dict[str, NDArray[Any]]

    def reject(self, bad: NDArray[np.bool_], code: str, reason: str, findings: Findings) -> None:
        """Takes single bad rows (bool [N]) out of use; the others are unaffected. Reported once per reason."""
        bad = bad & self.keep
        if bad.any():
            self.keep = self.keep & ~bad
            findings.reject(code, self.field, f"{reason}; these rows are not used", self.ids, bad)

    def refuse_if_mostly_bad(self, most: float, findings: Findings) -> None:
        """A share of rejected rows above ``most`` (0 to 1) is no longer a matter of single rows."""
        rejected = int((~self.keep).sum())
        share = rejected / len(self.keep)
        if share > most:
            findings.refuse(
                "TOO_MANY_REJECTED",
                self.field,
                f"{rejected} of {len(self.keep)} rows are unusable, a share of {share:.4g} where "
                f"spec.checks.max_rejected_share allows {most:.4g}; mend what the warnings name, or raise the bound",
                rejected,
                first_ids(self.ids, ~self.keep),
            )

    def text(self, column: str, findings: Findings) -> pa.Array | None:
        """A column of names as text, or None (and a finding) when its type holds no names."""
        try:
            return label_text(self.table[column])
        except TypeError:
            findings.refuse(
                "LABEL_TYPE",
                self.field,
                f"{column!r} is {self.table[column].type}; store strings, integers, whole floats or booleans",
            )
            return None


def read_ids(table: pa.Table, field: str, findings: Findings) -> pa.Array | None:
    """The ``id`` column as one int64 or string array, or None (and a finding) when it does not name every row."""
    if ID not in table.schema.names:
        findings.refuse("NO_ID", field, "no 'id' column; add one with a different string or integer in every row")
        return None
    if not table.num_rows:
        findings.refuse("NO_ROWS", field, "the data set has no rows")
        return None
    ids = _uniform_ids(table[ID])
    if ids is None:
        findings.refuse("ID_TYPE", field, f"'id' is {table[ID].type}; store strings or 64-bit integers")
        return None
    if ids.null_count:
        findings.refuse("NULL_ID", field, "'id' is null; name every row", ids.null_count)
        return None
    if pa.types.is_string(ids.type):
        long = pc.greater(pc.binary_length(ids), LONGEST_ID_BYTES).to_numpy(zero_copy_only=False)
        if long.any():
            shortened = tuple(f"{value[:40]}..." for value in first_ids(ids, long))
            findings.refuse(
                "LONG_ID", field, f"'id' is over {LONGEST_ID_BYTES} bytes; shorten it", int(long.sum()), shortened
            )
            return None
    counts = pc.value_counts(ids)
    more_than_one = pc.greater(counts.field("counts"), 1)
    repeated = counts.field("values").filter(more_than_one)
    if len(repeated):
        findings.refuse(
            "DUPLICATE_ID",
            field,
            "'id' is given to more than one row; make ids unique",
            int(pc.sum(counts.field("counts").filter(more_than_one)).as_py()),
            tuple(str(value) for value in repeated[:IDS_SHOWN].to_pylist()),
        )
        return None
    return ids


def _uniform_ids(column: pa.ChunkedArray) -> pa.Array | None:
    type_ = plain(column.type)
    if is_text(type_):
        target = pa.string()
    elif pa.types.is_integer(type_):
        target = pa.int64()
    else:
        return None
    try:
        ids = column.cast(target).combine_chunks()
    except pa.ArrowInvalid:
        return None
    # Over 2 GiB of id text does not fit one string array.
    return ids if isinstance(ids, pa.Array) else None

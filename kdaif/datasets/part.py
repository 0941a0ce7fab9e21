"""One data set on its way to becoming rows: ids and inputs read, bad rows marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.datasets.findings import Findings, first_ids
from kdaif.datasets.labels import Names, holds_names, read_names
from kdaif.datasets.table_file import TableFile


@dataclass
class Part:
    """A data set with the mask of the rows still in use.

    Attributes:
        file: the data set.
        ids: [N] int64 or string, unique.
        hashes: uint64 [N], by content of the input.
        keep: bool [N], rows that are neither rejected nor dropped.
        groups: names by group column; empty where nothing is kept.
        features: float32 [N, D] or uint8 [N, H, W, C]; None where nothing is kept, and of texts.
    """

    file: TableFile
    ids: pa.Array
    hashes: NDArray[np.uint64]
    keep: NDArray[np.bool_]
    groups: dict[str, Names]
    features: NDArray[Any] | None

    @property
    def field(self) -> str:
        """What findings call it, such as ``spec.labeled``."""
        return self.file.field

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

    def has_names(self, column: str, findings: Findings) -> bool:
        """Whether a column is of a type that holds names; a finding where it is not."""
        type_ = self.file.schema.field(column).type
        if holds_names(type_):
            return True
        findings.refuse(
            "LABEL_TYPE",
            self.field,
            f"{column!r} is {type_}; store strings, integers, whole floats or booleans",
        )
        return False

    def names(self, column: str, findings: Findings) -> Names | None:
        """A column of names, or None (and a finding) when its type holds none."""
        if not self.has_names(column, findings):
            return None
        return read_names(self.file.column(column), len(self.ids))

"""Collects what the checks find, in the order they look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.errors import FieldViolation, InvalidInputError
from kdaif.records import Finding, PreflightReport, Severity

IDS_SHOWN = 10
_RUN_ROWS = 65_536
_NAME = pa.dictionary(pa.int32(), pa.string())
REJECTED = pa.schema(
    [("data_set", _NAME), ("id", pa.string()), ("code", _NAME), ("field", _NAME), ("reason", _NAME)],
)


@dataclass(frozen=True)
class _Rejected:
    """Rows that left a data set for one reason; their ids are an Arrow array, never a Python object for each."""

    field: str
    code: str
    reason: str
    ids: pa.Array

    def table(self) -> pa.Table:
        """In the form of REJECTED. The four texts are the same in every row and are kept once."""
        role = self.field.removeprefix("spec.")
        data_set, code, field, reason = (
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(self.ids), dtype=np.int32)), pa.array([text]))
            for text in (role, self.code, self.field, self.reason)
        )
        return pa.Table.from_arrays([data_set, self.ids.cast(pa.string()), code, field, reason], schema=REJECTED)


class Findings:
    """The growing list of findings of one job's data."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._rejected: list[_Rejected] = []

    def info(self, code: str, field: str, message: str, rows: int = 0, ids: tuple[str, ...] = ()) -> None:
        """Something worth knowing; nothing to do."""
        self._findings.append(Finding(Severity.INFO, code, field, message, rows, ids))

    def warn(self, code: str, field: str, message: str, rows: int = 0, ids: tuple[str, ...] = ()) -> None:
        """Something to read before trusting the result."""
        self._findings.append(Finding(Severity.WARNING, code, field, message, rows, ids))

    def refuse(self, code: str, field: str, message: str, rows: int = 0, ids: tuple[str, ...] = ()) -> None:
        """Something that must be mended before the job can run."""
        self._findings.append(Finding(Severity.ERROR, code, field, message, rows, ids))

    def reject(self, code: str, field: str, reason: str, ids: pa.Array, bad: NDArray[np.bool_]) -> None:
        """Single rows that are not used, each of them kept for `rejected`; told as one warning.

        Args:
            code: of the finding.
            field: the data set, such as ``spec.labeled``.
            reason: why, and what happens to the rows.
            ids: [N] int64 or string, of the data set.
            bad: bool [N], the rows.
        """
        chosen = ids.filter(pa.array(bad))
        self._rejected.append(_Rejected(field, code, reason, chosen))
        self.warn(code, field, reason, len(chosen), first_ids(ids, bad))

    def rejected(self) -> pa.Table:
        """Every rejected row so far: ``data_set`` (its role), ``id`` (as text), ``code``, ``field`` and ``reason``."""
        if not self._rejected:
            return REJECTED.empty_table()
        return pa.concat_tables([each.table() for each in self._rejected]).unify_dictionaries()

    @property
    def refused(self) -> bool:
        """Whether any finding refuses the job."""
        return any(finding.severity is Severity.ERROR for finding in self._findings)

    def report(self) -> PreflightReport:
        """All findings so far."""
        return PreflightReport(tuple(self._findings))

    def raise_if_refused(self) -> None:
        """Turns the errors into one exception.

        Raises:
            InvalidInputError: with one violation for each error.
        """
        errors = self.report().errors
        if errors:
            violations = tuple(FieldViolation(finding.field, describe(finding)) for finding in errors)
            listed = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
            raise InvalidInputError(f"the data cannot be distilled from: {listed}", violations)


def describe(finding: Finding) -> str:
    """The message of a finding with its rows, for people."""
    if not finding.row_count:
        return finding.message
    ids = f", ids {', '.join(finding.ids)}" if finding.ids else ""
    more = ", ..." if finding.ids and finding.row_count > len(finding.ids) else ""
    return f"{finding.message} ({finding.row_count} rows{ids}{more})"


def first_ids(ids: pa.Array, mask: NDArray[np.bool_]) -> tuple[str, ...]:
    """The first ten ids where ``mask`` (bool [N]) holds, as text."""
    first: list[int] = []
    for start in range(0, len(mask), _RUN_ROWS):
        if len(first) >= IDS_SHOWN:
            break
        first.extend((start + np.flatnonzero(mask[start : start + _RUN_ROWS])).tolist())
    chosen: list[Any] = ids.take(pa.array(first[:IDS_SHOWN], pa.int64())).to_pylist()
    return tuple(str(value) for value in chosen)

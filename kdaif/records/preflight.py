"""What the check of the data found, before and while a job runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """INFO is told, WARNING should be read, ERROR refuses the job."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Finding:
    """One finding: at which field, how many rows, the first ten ids."""

    severity: Severity
    code: str
    field: str
    message: str
    row_count: int = 0
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """What a job is expected to cost: of the order of, not a promise. ``memory_bytes`` is the worker's most."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class PreflightReport:
    """All findings of one job's data."""

    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that refuse the job."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

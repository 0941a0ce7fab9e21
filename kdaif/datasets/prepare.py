"""The one way from files to rows. `preflight` keeps what it found, `prepare` keeps the rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kdaif.datasets.checked import Checked
from kdaif.datasets.estimate import estimate
from kdaif.datasets.examine import examine
from kdaif.datasets.feasible import check_feasible
from kdaif.datasets.findings import Findings
from kdaif.datasets.gathering import gather
from kdaif.datasets.rows import DistillationData
from kdaif.errors import InvalidInputError
from kdaif.records import DistillationSpec, ModelSignature, PreflightReport
from kdaif.scratch import Scratch

_IN_MEMORY = Scratch()


def preflight(spec: DistillationSpec, files: Mapping[str, Path]) -> PreflightReport:
    """Everything that `prepare` would find, errors included, but for what only decoded pictures tell.

    Of encoded pictures it reads the headers, and takes equal bytes for equal pictures. `prepare` also rejects those
    that break off after the header, and finds equal pixels in different files. No tokenizer is trained.

    Args:
        spec: the job.
        files: local Parquet file by role, one for each role of ``spec.dataset_ids()``.
    """
    return check(spec, files).report


def check(
    spec: DistillationSpec, files: Mapping[str, Path], models: Mapping[str, ModelSignature] | None = None
) -> Checked:
    """As `preflight`, and each rejected row by name. Of data that is refused, the rows found until then.

    Rows are read in runs, of which some 50 bytes a row are kept, whatever they hold.

    Args:
        spec: the job.
        files: as of `preflight`.
        models: of each role that is a model, what its file says of itself; where it is missing nothing is checked.
    """
    findings, cost = Findings(), None
    try:
        data = examine(spec, files, findings, None)
        check_feasible(spec, data, models or {}, findings)
        cost = estimate(spec, data)
    except InvalidInputError as error:
        if not findings.refused:  # the footer is whole, and what it promises is not there
            for violation in error.violations:
                findings.refuse("UNREADABLE_FILE", violation.field, violation.description)
    return Checked(findings.report(), findings.rejected(), cost)


def prepare(spec: DistillationSpec, files: Mapping[str, Path], scratch: Scratch = _IN_MEMORY) -> DistillationData:
    """Checked rows of one job.

    The files are read in runs. What is kept of each row, its input and a teacher's outputs, lies in ``scratch``; in
    memory there are a few numbers for each, such as the id.

    Args:
        spec: the job.
        files: local Parquet file by role, one for each role of ``spec.dataset_ids()``.
        scratch: where large arrays go. By default everything stays in memory.

    Raises:
        InvalidInputError: the data cannot be distilled from; one violation for each error that `preflight` reports.
        UnavailableError: the disk has no room for the rows.
    """
    findings = Findings()
    return gather(spec, examine(spec, files, findings, scratch), findings.report(), scratch)

"""What a check of the data hands back."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from kdaif.records import Estimate, PreflightReport


@dataclass(frozen=True, eq=False)
class Checked:
    """What was found, and what was left out.

    Attributes:
        report: all findings, errors included.
        rejected: one row for each row that is not used: ``data_set``, ``id``, ``code``, ``field`` and ``reason``.
        estimate: what the job would cost; None where it is refused.
    """

    report: PreflightReport
    rejected: pa.Table
    estimate: Estimate | None

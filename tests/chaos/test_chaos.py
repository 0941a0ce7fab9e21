"""The one-minute cut of ``make chaos``: a real Valkey, servers and workers, each kind of fault at least once."""

import sys

import pytest

from tests.chaos.plan import Fault, Plan
from tests.chaos.report import findings, table
from tests.chaos.report import row as row_of
from tests.chaos.run import run


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_job_is_lost_or_doubled_and_nothing_stale_is_seen() -> None:
    outcome = run(Plan.cut(seed=1), _tell)
    _tell(table([row_of(outcome)]))
    assert outcome.passed, findings(outcome)
    assert outcome.jobs >= 20
    assert set(outcome.faults) >= {str(fault) for fault in (Fault.CHILD_KILLED, Fault.VALKEY_KILLED, Fault.CLOCK_OFF)}


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")

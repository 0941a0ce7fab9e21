import time

import pytest
from kdaif_worker.lease import Lease, now_s


def test_a_lease_counts_from_when_it_was_asked_for() -> None:
    asked_s = now_s() - 3.0
    lease = Lease(10.0, asked_s)
    assert lease.remaining_s == pytest.approx(7.0, abs=0.5)
    lease.extend(asked_s + 1.0)
    assert lease.remaining_s == pytest.approx(8.0, abs=0.5)
    lease.extend(asked_s)  # an acknowledgement that came late takes nothing back
    assert lease.remaining_s == pytest.approx(8.0, abs=0.5)
    assert Lease(2.0, asked_s).remaining_s < 0


def test_the_clock_is_none_that_anybody_sets() -> None:
    assert now_s() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=0.5)
    assert abs(now_s() - time.time()) > 1e6

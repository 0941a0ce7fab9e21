from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdaif.rollout import gets_canary

_DEVICES = [f"cam-{number}" for number in range(10_000)]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.5])
def test_a_share_of_ten_thousand_devices_is_that_share(share: float) -> None:
    chosen = sum(gets_canary(device, "r1", share) for device in _DEVICES) / len(_DEVICES)
    # Four standard deviations of the binomial.
    assert abs(chosen - share) < 4 * (share * (1 - share) / len(_DEVICES)) ** 0.5


@given(device=st.text(), rollout=st.text(), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_larger_share_keeps_every_device_of_a_smaller_one(
    device: str, rollout: str, shares: tuple[float, float]
) -> None:
    small, large = sorted(shares)
    assert gets_canary(device, rollout, small) <= gets_canary(device, rollout, large)
    assert gets_canary(device, rollout, large) == gets_canary(device, rollout, large)
    assert not gets_canary(device, rollout, 0.0)
    assert gets_canary(device, rollout, 1.0)


def test_another_rollout_draws_other_devices() -> None:
    first = {device for device in _DEVICES if gets_canary(device, "r1", 0.1)}
    second = {device for device in _DEVICES if gets_canary(device, "r2", 0.1)}
    assert len(first & second) < 0.3 * len(first)
    assert gets_canary("ab", "c", 0.5) in (True, False)
    assert {gets_canary("1", "23", share / 100) for share in range(101)} == {False, True}

"""The simulated fleet of `make bench-edge`, scaled down."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks.rollout import figures, simulate


def test_a_fleet_keeps_shares_and_places_and_ends_with_the_better_student(valkey_url: str, tmp_path: Path) -> None:
    """Fewer trials and devices than the benchmark's 200 of 10,000; the bounds are looser for that alone."""
    trials = asyncio.run(simulate(valkey_url, tmp_path, devices=2_000, trials=8))
    found = figures(trials)
    assert found["rollout_correct_share"] == 1.0
    assert found["rollout_devices_moved"] == 0
    # Four standard deviations of a share of 5 % among 2,000.
    assert found["share_error_points"] < 2.0
    assert all(trial.days < 60 for trial in trials)

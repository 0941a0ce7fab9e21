"""The estimate of a small real job is of the right order, and stays with the job."""

from __future__ import annotations

import numpy as np
import pytest
from kdaif_client import Client, Spec, Training

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(3)
FACTOR = 5.0


def test_a_small_job_takes_of_the_order_of_its_estimate(client: Client) -> None:
    labels = np.tile(["cat", "dog", "owl"], 40)
    labeled = client.upload_dataset({"features": RNG.normal(size=(120, 4)), "label": labels}, name="l")
    pool = client.upload_dataset({"features": RNG.normal(size=(1500, 4))}, name="pool")
    spec = Spec(labeled, pool, training=Training(rounds=2, epochs_per_round=5, seeds=1))
    promised = client.preflight(spec).estimate
    assert promised is not None
    job = client.submit_spec(spec)
    assert job.info.estimate == promised
    info = job.wait(timeout_s=110).info
    assert info.estimate == client.get_job(job.name).info.estimate == promised
    assert info.start_time is not None
    assert info.end_time is not None
    took_s = (info.end_time - info.start_time).total_seconds()
    assert promised.seconds / FACTOR < took_s < promised.seconds * FACTOR
    assert 3e8 < promised.memory_bytes < 3e9

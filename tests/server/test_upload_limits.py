"""What a client is told when an upload is more than it may be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from kdaif_client import Client, Dataset
from kdaif_client.errors import ResourceExhausted
from kdaif_server.settings import ServerSettings

from tests.server.serving import serving


def test_a_quota_is_told_with_usage_and_limit_and_holds_among_clients(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path, tenant_quota_bytes=100_000)

    def upload(number: int) -> Dataset | str:
        with Client(target) as own:
            try:
                return own.upload_dataset({"features": np.full((10_000, 1), number, np.float64)}, name=str(number))
            except ResourceExhausted as error:
                return f"{error.code} {error.reason} {error}"

    with serving(settings) as target, Client(target) as client, Client(target, tenant="other") as other:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(upload, range(6)))
        kept = [answer for answer in answers if isinstance(answer, Dataset)]
        used = sum(dataset.size_bytes for dataset in kept)
        assert 1 <= len(kept) < 6
        assert used <= 100_000 < used + kept[0].size_bytes
        for answer in answers:
            if isinstance(answer, str):
                assert answer.startswith("RESOURCE_EXHAUSTED QUOTA_EXCEEDED ")
                assert "of the 100,000 bytes" in answer
        with pytest.raises(ResourceExhausted, match=f"'default' uses {used:,} of the 100,000 bytes"):
            client.upload_dataset({"features": np.ones((20_000, 1))}, name="more")
        assert other.upload_dataset({"features": np.zeros((10_000, 1))}, name="other").size_bytes > 0
        client.delete_dataset(kept[0])
        assert client.upload_dataset({"features": np.full((10_000, 1), 9.0)}, name="in its place").size_bytes > 0

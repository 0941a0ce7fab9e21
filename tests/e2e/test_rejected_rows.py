"""Rejected rows, streamed by a real server as one Parquet file."""

from __future__ import annotations

import numpy as np
import pytest
from kdaif_client import Checks, Client, Spec
from kdaif_client.errors import InvalidArgument

RNG = np.random.default_rng(1)


def spec(client: Client, rows: int, bad: int, **more: object) -> Spec:
    labels = np.tile(["cat", "dog", "owl"], 40)
    labeled = client.upload_dataset({"features": RNG.normal(size=(120, 4)), "label": labels}, name="l")
    features = RNG.normal(size=(rows, 4))
    features[:bad, 1] = np.nan
    # Long ids of random digits, so that the Parquet file is of more than one chunk.
    ids = [f"{RNG.bytes(24).hex()}" for _ in range(rows)]
    return Spec(labeled, client.upload_dataset({"features": features, "id": ids}, name="pool"), **more)  # type: ignore[arg-type]


def test_every_rejected_row_arrives(client: Client) -> None:
    given = spec(client, 30_000, 14_000)
    table = client.rejected_rows(given)
    assert table.column_names == ["data_set", "id", "code", "field", "reason"]
    assert len(set(table["id"].to_pylist())) == len(table) == 14_000
    assert set(table["code"].to_pylist()) == {"NON_FINITE_FEATURE"}
    assert set(table["data_set"].to_pylist()) == {"unlabeled"}
    assert len(client.rejected_rows(spec(client, 50, 0))) == 0


def test_the_policy_refuses_and_the_rows_can_still_be_read(client: Client) -> None:
    given = spec(client, 50, 1, checks=Checks(max_rejected_share=0.0))
    with pytest.raises(InvalidArgument, match="max_rejected_share") as caught:
        client.submit_spec(given)
    assert [violation.field for violation in caught.value.violations] == ["spec.unlabeled"]
    assert len(client.rejected_rows(given)) == 1


def test_a_spec_that_is_wrong_is_refused_before_the_data(client: Client) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.rejected_rows(spec(client, 50, 1, max_runtime_s=0))
    assert [violation.field for violation in caught.value.violations] == ["spec.max_runtime_s"]

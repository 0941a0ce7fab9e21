"""Twenty seconds of `make fuzz`, and that it would notice."""

from __future__ import annotations

from pathlib import Path

import pytest
from kdaif_proto.v1 import weights_pb2
from kdaif_server.services.weights import WeightService

from tests.fuzz.run import fuzz
from tests.fuzz.world import world


def test_nothing_is_found_in_a_while(tmp_path: Path) -> None:
    with world(tmp_path) as of:
        sent = fuzz(of, 20.0, first_seed=0)
    assert sent > 200
    assert of.codes["OK"] > 10
    assert of.codes["INVALID_ARGUMENT"] > 50
    assert of.codes["NOT_FOUND"] > 10


def test_an_error_that_nobody_foresaw_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: object, request: object, context: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(WeightService, "SummarizeWeights", broken)
    with world(tmp_path) as of:
        request = weights_pb2.SummarizeWeightsRequest(parent=of.known[2]).SerializeToString()
        with pytest.raises(AssertionError, match="INTERNAL"):
            of.ask("/kdaif.v1.WeightService/SummarizeWeights", [request])

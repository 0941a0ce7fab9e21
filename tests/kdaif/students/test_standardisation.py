"""Mean and spread over several parts, slab by slab, are those of numpy over all rows at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kdaif.scratch
from kdaif.datasets import InputSignature
from kdaif.students import Standardisation, standardisation


@pytest.fixture(params=[16 * 2**20, 3000])
def slab_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kdaif.scratch, "SLAB_BYTES", request.param)


@pytest.mark.usefixtures("slab_bytes")
def test_of_numbers() -> None:
    generator = np.random.default_rng(0)
    parts = [
        (generator.normal(size=(n, 5)) * [1, 10, 1e-3, 0, 1] + [0, 5, 1e3, 7, 0]).astype(np.float32) for n in (40, 900)
    ]
    found = standardisation(parts, InputSignature("numeric", (5,), tuple("abcde")))
    rows = np.concatenate(parts).astype(np.float64)
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-6, atol=1e-8)
    expected = rows.std(axis=0)
    np.testing.assert_allclose(found.scale[[0, 1, 4]], expected[[0, 1, 4]], rtol=1e-6)
    assert found.scale[3] == 1.0


@pytest.mark.usefixtures("slab_bytes")
def test_of_nulls_and_codes() -> None:
    signature = InputSignature(
        "numeric", (3,), tuple("abc"), categories=((), ("x", "y"), ()), nullable=(True, False, True)
    )
    rows = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    rows[:, 1] = np.arange(500) % 3
    rows[::4, 0] = np.nan
    rows[:, 2] = np.nan
    found = standardisation([rows[:100], rows[100:]], signature)
    known = rows[~np.isnan(rows[:, 0]), 0].astype(np.float64)
    np.testing.assert_allclose(found.mean, [known.mean(), 0, 0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.scale, [known.std(), 1, 1], rtol=1e-6)


@pytest.mark.usefixtures("slab_bytes")
def test_of_pictures() -> None:
    rows = np.random.default_rng(2).integers(0, 256, (60, 4, 6, 3), dtype=np.uint8)
    found = standardisation([rows[:20], rows[20:]], InputSignature("image", (4, 6, 3), ("image",)))
    np.testing.assert_allclose(found.mean[:, 0, 0], (rows / 255).mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(found.scale[:, 0, 0], (rows / 255).std(axis=(0, 1, 2)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["numeric", "image", "text"])
def test_none_leaves_inputs_as_they_are_and_fits_what_is_loaded_over_it(kind: str) -> None:
    shape = {"numeric": (4,), "image": (5, 5, 3), "text": (7,)}[kind]
    signature = InputSignature(kind, shape, ("x",))  # type: ignore[arg-type]
    rows = np.ones((3, *shape), np.float32 if kind == "numeric" else np.uint8)
    none, made = Standardisation.none(signature), standardisation([rows], signature)
    assert (none.mean.shape, none.scale.shape) == (made.mean.shape, made.scale.shape)
    assert not none.mean.any()
    assert torch.equal(none.scale, torch.ones_like(none.scale))

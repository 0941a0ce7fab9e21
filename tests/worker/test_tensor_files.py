"""Safetensors files in runs: read by the format's own library, written by it, and damaged."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from kdaif_worker.tensor_files import read_tensors, write_tensors
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from kdaif.scratch import Scratch

ARRAYS: dict[str, NDArray[np.generic]] = {
    "a/b": np.arange(12, dtype=np.float32).reshape(3, 4),
    "wide": np.random.default_rng(0).normal(size=(500, 7)),
    "bytes": np.arange(5, dtype=np.uint8),
    "flags": np.array([True, False, True]),
    "step": np.array(7.0, dtype=np.float32),
    "count": np.array(3, dtype=np.int64),
    "none": np.empty((0, 3), dtype=np.int32),
}


def written(arrays: dict[str, NDArray[np.generic]], **metadata: str) -> bytes:
    file = io.BytesIO()
    write_tensors(file, arrays, metadata, Scratch())
    return file.read()


def pieces(data: bytes, length: int) -> Iterator[bytes]:
    return (data[start : start + length] for start in range(0, len(data), length))


def read(data: bytes, length: int = 11, **options: bool) -> tuple[dict[str, NDArray[np.generic]], dict[str, str]]:
    return read_tensors(pieces(data, length), len(data), Scratch(), **options)


@pytest.mark.parametrize("length", [1, 13, 4096, 10**6])
def test_what_is_written_is_read(length: int) -> None:
    found, metadata = read(written(ARRAYS, kdaif='{"sha256":"no"}'), length)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
    assert metadata["kdaif"] == '{"sha256":"no"}'


def test_the_formats_own_library_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(written(ARRAYS, note="a"))
    with safe_open(file, framework="np") as given:
        assert given.metadata()["note"] == "a"
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(given.get_tensor(name), array)


def test_a_file_without_a_hash_is_read_where_it_need_not_have_one() -> None:
    old = save({"outputs": np.arange(6, dtype=np.float32)})
    np.testing.assert_array_equal(read(old, hashed=False)[0]["outputs"], np.arange(6))
    with pytest.raises(ValueError, match="no hash"):
        read(old)


def test_damage_is_told_wherever_it_is() -> None:
    whole = written({"a": np.arange(3, dtype=np.float32), "b": np.arange(2)}, kdaif="x")
    for place in range(len(whole)):
        with pytest.raises(ValueError):
            read(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
    for cut in (whole[:0], whole[:7], whole[:-1], whole + b"\0"):
        with pytest.raises(ValueError):
            read(cut)

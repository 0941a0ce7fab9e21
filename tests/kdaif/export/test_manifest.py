from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdaif.datasets import InputSignature
from kdaif.errors import InvalidInputError
from kdaif.export import value_ranges, write_manifest
from tests.kdaif.inputs import NUMERIC, TABLE, TEXT

SIGNATURE = InputSignature("image", (8, 8, 1), ("image",))


def write(folder: Path, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "job": "tenants/t/distillationJobs/j",
        "attempt": 2,
        "class_names": ("zèbre", "ape"),
        "signature": SIGNATURE,
        "n_features": 5,
        "dataset_sha256": {"unlabeled": "b" * 64, "labeled": "a" * 64},
        "created": {"time": "2025-01-02T03:04:05Z", "kdaif": "0.1.0"},
    }
    write_manifest(folder, **(arguments | changes))
    told: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "student.onnx").write_bytes(b"onnx")
    (tmp_path / "weights" / "round-1.parquet").write_bytes(b"")
    return tmp_path


def test_every_other_file_is_listed_with_hash_and_size(folder: Path) -> None:
    manifest = write(folder)

    assert manifest["files"] == {
        "student.onnx": {"sha256": hashlib.sha256(b"onnx").hexdigest(), "size_bytes": 4},
        "weights/round-1.parquet": {"sha256": hashlib.sha256(b"").hexdigest(), "size_bytes": 0},
    }
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "student.onnx", "weights"]


def test_it_says_what_goes_in_and_comes_out(folder: Path) -> None:
    manifest = write(folder)

    assert (manifest["format"], manifest["format_version"]) == ("kdaif-bundle", 1)
    assert (manifest["job"], manifest["attempt"]) == ("tenants/t/distillationJobs/j", 2)
    assert manifest["class_names"] == ["zèbre", "ape"]
    assert manifest["input"] == {
        "name": "input",
        "kind": "image",
        "dtype": "uint8",
        "shape": ["batch", 8, 8, 1],
        "columns": ["image"],
        "layout": "NHWC",
        "pictures": {"formats": ["PNG", "JPEG"], "mode": "L", "resize": None},
        "range": [0, 255],
    }
    assert write(folder, scaled=True)["input"]["pictures"]["resize"] == "bilinear"
    assert manifest["outputs"] == ["logits", "probabilities", "features"]
    assert manifest["output_shapes"] == {
        "logits": ["batch", 2],
        "probabilities": ["batch", 2],
        "features": ["batch", 5],
    }
    assert manifest["temperature"] == 1.0
    assert write(folder, temperature=1.5)["temperature"] == 1.5
    assert write(folder, shipped_arm="uniform")["shipped_arm"] == "uniform"
    assert manifest["datasets"] == {"labeled": {"sha256": "a" * 64}, "unlabeled": {"sha256": "b" * 64}}
    assert manifest["created"] == {"time": "2025-01-02T03:04:05Z", "kdaif": "0.1.0"}


def test_it_says_which_runtime_reads_each_file_what_made_it_and_whose_terms_hold(folder: Path) -> None:
    manifest = write(folder, oldest_onnxruntime={"model.onnx": "1.15"}, versions={"torch": "2.13.0"})
    assert manifest["oldest_onnxruntime"] == {"model.onnx": "1.15"}
    assert manifest["versions"] == {"torch": "2.13.0"}
    assert "licensed" in manifest["licence"]


def test_it_says_which_values_go_in_and_which_were_seen(folder: Path) -> None:
    nan = np.nan
    parts = [
        np.array([[nan, 1, 150, 1], [30, 0, 160, 2]], np.float32),
        np.array([[41, 3, 149.5, 1]], np.float32),
    ]
    # Codes of categories are no numbers, and a null is no smallest value.
    seen = {"age": [30.0, 41.0], "height": [149.5, 160.0]}
    assert value_ranges(TABLE, parts) == seen
    told = write(folder, signature=TABLE, value_ranges=seen)["input"]
    assert told["seen"] == seen
    assert told["range"] == [-np.finfo(np.float32).max, np.finfo(np.float32).max]
    assert value_ranges(TABLE, [np.full((2, 4), nan, np.float32)]) == {}
    assert write(folder, signature=TEXT)["input"]["range"] == [0, 9]
    assert value_ranges(TEXT, []) == {}
    listed = InputSignature("numeric", NUMERIC.shape, ("features",))
    assert value_ranges(listed, [np.array([[3, -1, 2]], np.float32)]) == {"features": [-1.0, 3.0]}


def test_same_arguments_give_the_same_bytes_and_writing_again_leaves_itself_out(folder: Path) -> None:
    write(folder)
    first = (folder / "manifest.json").read_bytes()

    write(
        folder,
        dataset_sha256={"labeled": "a" * 64, "unlabeled": "b" * 64},
        created={"kdaif": "0.1.0", "time": "2025-01-02T03:04:05Z"},
    )

    assert (folder / "manifest.json").read_bytes() == first


def test_e11_a_link_is_refused(folder: Path) -> None:
    (folder / "secret").symlink_to("/etc/hostname")

    with pytest.raises(InvalidInputError, match="'secret' is not a plain file"):
        write(folder)


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_what_is_no_json_is_refused_and_nothing_is_written(folder: Path, value: object) -> None:
    with pytest.raises(InvalidInputError, match="created: JSON values only"):
        write(folder, created={"value": value})

    assert not (folder / "manifest.json").exists()

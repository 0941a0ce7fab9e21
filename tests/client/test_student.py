"""A student runs on raw rows, and refuses rows that it was not made for."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kdaif_client import Student
from kdaif_client._cpu import usable_cpus
from kdaif_client._signature import write_signature
from kdaif_client.bundle import verify
from kdaif_client.errors import CorruptDownload, FailedPrecondition, InvalidArgument, MissingDependency, ServerError
from kdaif_client.types import BundleSignature

from tests.client.conftest import CLASSES, Bundle, make_bundle

RNG = np.random.default_rng(0)


def opened(bundle: Bundle, folder: Path) -> Student:
    for name, data in bundle.files.items():
        (folder / name).write_bytes(data)
    return Student.open(folder)


@pytest.fixture
def images(image_bundle: Bundle, tmp_path: Path) -> Student:
    return opened(image_bundle, tmp_path)


@pytest.fixture
def numbers(numeric_bundle: Bundle, tmp_path: Path) -> Student:
    return opened(numeric_bundle, tmp_path)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("rows", [1, 2, 3, 64, 2500])
def test_probabilities_are_those_of_the_model(images: Student, image_bundle: Bundle, rows: int) -> None:
    X = RNG.integers(0, 256, (rows, 8, 8), dtype=np.uint8)
    proba = images.predict_proba(X)
    assert proba.dtype == np.float32
    assert proba.shape == (rows, 3)
    np.testing.assert_allclose(proba, softmax(X.reshape(rows, -1) @ image_bundle.matrix), atol=1e-5)
    np.testing.assert_array_equal(images.predict(X), np.array(CLASSES)[proba.argmax(axis=1)])
    np.testing.assert_array_equal(images.predict_proba(X[..., None]), proba)


def test_no_rows_give_no_answers(images: Student) -> None:
    assert images.predict_proba(np.zeros((0, 8, 8), np.uint8)).shape == (0, 3)
    assert len(images.predict(np.zeros((0, 8, 8, 1), np.uint8))) == 0


def test_number_columns_are_taken_by_name(numbers: Student, numeric_bundle: Bundle) -> None:
    matrix = RNG.normal(size=(4, 3))
    want = softmax(matrix.astype(np.float32) @ numeric_bundle.matrix)
    columns = {"weight": matrix[:, 2], "age": matrix[:, 0], "more": matrix[:, 1], "height": matrix[:, 1]}
    for X in (matrix, matrix.astype(np.float32), matrix.tolist(), pd.DataFrame(columns), columns):
        np.testing.assert_allclose(numbers.predict_proba(X), want, atol=1e-6)
    polars = pytest.importorskip("polars")
    np.testing.assert_allclose(numbers.predict_proba(polars.DataFrame(columns)), want, atol=1e-6)


def test_a_features_column_of_lists(tmp_path: Path) -> None:
    from tests.client.conftest import make_bundle

    student = opened(make_bundle("numeric", (3,), ["features"]), tmp_path)
    matrix = RNG.normal(size=(4, 3))
    want = student.predict_proba(matrix)
    np.testing.assert_array_equal(student.predict_proba(pd.DataFrame({"features": list(matrix)})), want)
    np.testing.assert_array_equal(student.predict_proba({"features": matrix}), want)


@pytest.mark.parametrize(
    ("X", "says"),
    [
        (np.zeros((2, 8, 8)), r"X is float64, and this student takes uint8 images \[N, 8, 8, 1\].*\* 255"),
        (np.zeros((2, 7, 8), np.uint8), r"X has shape \[2, 7, 8, 1\]"),
        (np.zeros((8, 8, 1), np.uint8), r"X has shape \[8, 8, 1, 1\]"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"X has shape \[2, 8, 8, 3\]"),
    ],
)
def test_wrong_pictures_are_refused(images: Student, X: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        images.predict(X)


@pytest.mark.parametrize(
    ("X", "says"),
    [
        (np.zeros((2, 4)), r"X has shape \[2, 4\], and this student takes numbers \[N, 3\] with columns age, height"),
        (np.zeros(3), r"a single row needs a leading axis: X\[None\]"),
        (np.array([["a", "b", "c"]]), "X is <U1"),
        (np.array([[0, np.nan, 0], [0, 0, 0], [np.inf, 0, 0]]), r"in 2 rows, first \[0, 2\]"),
        (np.array([[1e300, 0, 0]]), r"beyond float32 in 1 rows, first \[0\]"),
        ({"age": [1.0]}, "lacks the columns height, weight"),
        ({"age": [1.0], "height": [1.0, 2.0], "weight": [1.0]}, "different lengths"),
        (pd.DataFrame({"age": ["old"], "height": [1.0], "weight": [2.0]}), "X is "),
    ],
)
def test_wrong_numbers_are_refused(numbers: Student, X: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        numbers.predict(X)


def test_e7_rows_that_make_the_model_overflow_are_an_error_and_no_answer(tmp_path: Path) -> None:
    numbers = opened(make_bundle("numeric", (3,), ["age", "height", "weight"], scale=10), tmp_path)
    X = np.zeros((3, 3))
    X[1] = np.finfo(np.float32).max
    with pytest.raises(InvalidArgument, match=r"X makes the model overflow in 1 rows, first \[1\]"):
        numbers.predict(X)


def test_e8_threads_are_those_granted_and_do_not_spin(images: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdaif_client.bundle.usable_cpus", lambda: 3)
    options = Student.open(images.folder)._session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_missing_runtime_is_named(images: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"pip install 'kdaif-client\[edge\]'"):
        Student.open(images.folder)


def test_a_file_that_onnxruntime_cannot_read(numeric_bundle: Bundle, tmp_path: Path) -> None:
    import hashlib
    import json

    manifest = json.loads(numeric_bundle.files["manifest.json"])
    manifest["files"]["model.onnx"] = {"sha256": hashlib.sha256(b"no model").hexdigest(), "size_bytes": 8}
    files = numeric_bundle.files | {"model.onnx": b"no model", "manifest.json": json.dumps(manifest).encode()}
    with pytest.raises(ServerError, match=r"cannot read .*model\.onnx"):
        opened(Bundle(files, numeric_bundle.matrix), tmp_path)


def groups(folder: Path, lines: str, files: dict[str, str]) -> tuple[Path, Path]:
    proc, cgroups = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(lines)
    for name, text in files.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(text)
    return proc, cgroups


@pytest.mark.parametrize(
    ("lines", "files", "cpus"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "300000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "400000", "cpu/x/cpu.cfs_period_us": "100000"}, 4),
        ("4:cpu:/gone\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("nonsense", {"cpu.max": "nonsense"}, 64),
    ],
)
def test_cpus_of_a_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, files: dict[str, str], cpus: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))
    assert usable_cpus(*groups(tmp_path, lines, files)) == cpus


def test_it_abstains_below_the_confidence_that_is_asked_for(numbers: Student) -> None:
    X = RNG.normal(size=(200, 3)) * 300
    proba = numbers.predict_proba(X)
    decided = numbers.decide(X, abstain_below=0.6)
    assert 0 < decided.abstained.sum() < 200
    np.testing.assert_array_equal(decided.abstained, proba.max(axis=1) < 0.6)
    np.testing.assert_array_equal(decided.confidences, proba.max(axis=1))
    want = np.where(decided.abstained, "", np.array(CLASSES)[proba.argmax(axis=1)])
    np.testing.assert_array_equal(decided.labels, want)
    np.testing.assert_array_equal(numbers.predict(X, abstain_below=0.6), want)
    assert not numbers.decide(X).abstained.any()
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidArgument, match=r"abstain_below is .*; give a probability"):
            numbers.decide(X, abstain_below=wrong)


def test_a_variant_is_chosen_by_name(tmp_path: Path) -> None:
    from tests.client.conftest import make_bundle

    plain, other = make_bundle("numeric", (3,), ["a", "b", "c"]), make_bundle("numeric", (3,), ["features"])
    both = make_bundle("numeric", (3,), ["a", "b", "c"], {"model.int8.onnx": other.files["model.onnx"]})
    for name, bundle in (("plain", plain), ("both", both)):
        (tmp_path / name).mkdir()
        opened(bundle, tmp_path / name)
    assert Student.open(tmp_path / "plain", variant="auto").variant == "fp32"
    assert Student.open(tmp_path / "both").variant == "fp32"
    assert Student.open(tmp_path / "both", variant="auto").variant == "int8"
    for wrong in ("int8", "fp16", "best"):
        with pytest.raises(InvalidArgument, match=rf"variant is '{wrong}', and .*plain has fp32; give"):
            Student.open(tmp_path / "plain", variant=wrong)


def test_embed_is_refused_where_the_file_gives_no_features(numbers: Student) -> None:
    says = r"no output 'features', only logits, probabilities: it was published before.* submit the job again"
    with pytest.raises(FailedPrecondition, match=says):
        numbers.embed(np.zeros((1, 3)))
    assert numbers.predict_proba(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx", "certificate.json", "report.html", "tokenizer.json"])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_one_flipped_bit_in_any_named_file_is_refused_by_name(tmp_path: Path, name: str, place: str) -> None:
    from tests.client.conftest import make_bundle

    more = {"model.int8.onnx": b"smaller", "report.html": b"<html>", "tokenizer.json": b"{}"}
    folder = opened(make_bundle("numeric", (3,), ["features"], more), tmp_path).folder
    data = bytearray((folder / name).read_bytes())
    data[{"first": 0, "middle": len(data) // 2, "last": -1}[place]] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(CorruptDownload, match=rf"{name} is not what was published"):
        Student.open(folder)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_one_flipped_bit_in_the_manifest_of_a_signed_bundle_is_refused_without_a_key(
    numeric_bundle: Bundle, tmp_path: Path, share: float
) -> None:
    folder = opened(numeric_bundle, tmp_path).folder
    manifest = folder / "manifest.json"
    sha256 = hashlib.sha256(manifest.read_bytes()).hexdigest()
    write_signature(folder, "tenants/default/students/j1", sha256, BundleSignature("k", "ed25519", b"made elsewhere"))
    assert verify(folder)["class_names"] == CLASSES
    data = bytearray(manifest.read_bytes())
    data[int(share * len(data))] ^= 1
    manifest.write_bytes(data)
    with pytest.raises(CorruptDownload, match=rf"manifest.json of .* is not what was published.*{sha256}"):
        Student.open(folder)


def test_a_signature_that_is_cut_is_refused_without_a_key(numeric_bundle: Bundle, tmp_path: Path) -> None:
    folder = opened(numeric_bundle, tmp_path).folder
    (folder / "signature.json").write_text('{"format_version": 1')
    with pytest.raises(CorruptDownload, match="no signature of kdaif"):
        Student.open(folder)

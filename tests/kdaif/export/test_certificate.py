from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from kdaif.datasets import InputSignature
from kdaif.errors import InvalidInputError, NonFiniteError, TrainingError
from kdaif.export import Certificate, certify, export_onnx
from kdaif.records import Cnn, Mlp
from kdaif.students import Student, build_student

COLUMNS = InputSignature("numeric", (5,), ("a", "b", "c", "d", "e"))
CLASSES = ("cat", "dog", "owl")


def numbers(rows: int) -> np.ndarray:
    return (100 + 10 * np.random.default_rng(7).normal(size=(rows, 5))).astype(np.float32)


def mlp_student() -> Student:
    return build_student(Mlp(hidden_sizes=(8,), dropout=0.5), COLUMNS, 3, numbers(50), seed=1).train()


def test_e1_probabilities_are_certified_at_their_temperature(tmp_path: Path) -> None:
    student = mlp_student()
    export_onnx(student, tmp_path / "student.onnx", CLASSES, temperature=0.2)

    right = certify(student, tmp_path / "student.onnx", numbers(40), temperature=0.2)
    wrong = certify(student, tmp_path / "student.onnx", numbers(40))

    assert right.passed
    assert right.temperature == 0.2
    assert max(entry.max_abs_probability_difference for entry in right.parity) < 1e-4
    assert not wrong.passed
    assert all(entry.max_abs_difference < 1e-4 for entry in wrong.parity)
    with pytest.raises(TrainingError, match="probabilities by up to"):
        wrong.require_passed()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlp") / "student.onnx"
    export_onnx(mlp_student(), path, CLASSES)
    return path


def moved_by(file: Path, change: float, target: Path) -> Path:
    """The same graph with the last bias of the first class moved."""
    proto = onnx.load(file)
    bias = next(tensor for tensor in proto.graph.initializer if list(tensor.dims) == [3])
    moved = numpy_helper.to_array(bias) + np.array([change, 0, 0], np.float32)
    bias.CopyFrom(numpy_helper.from_array(moved, bias.name))
    onnx.save(proto, target)
    return target


def test_e1_parity_holds_at_every_batch_size_on_real_and_edge_rows(file: Path) -> None:
    student, threads = mlp_student(), torch.get_num_threads()

    certificate = certify(student, file, numbers(40))

    assert certificate.passed
    assert [entry.batch for entry in certificate.parity] == [1, 2, 3, 64]
    assert all(entry.argmax_agreement == 1.0 and entry.max_abs_difference < 1e-4 for entry in certificate.parity)
    assert (certificate.rows, certificate.edge_rows) == (43, 3)
    assert 0 < certificate.onnx_ms_per_row < 50
    assert 0 < certificate.torch_ms_per_row < 50
    assert certificate.size_bytes == file.stat().st_size
    assert (certificate.opset, certificate.ir_version, certificate.oldest_onnxruntime) == (18, 8, "1.15")
    assert certificate.versions["torch"].startswith("2.13.0")
    assert student.training
    assert torch.get_num_threads() == threads
    certificate.require_passed()


def test_images_are_checked_at_black_and_white(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    student = build_student(
        Cnn(channels=(4,), hidden_size=8), InputSignature("image", (8, 8, 3), ("image",)), 3, images, 0
    )
    export_onnx(student, tmp_path / "student.onnx", CLASSES)

    certificate = certify(student, tmp_path / "student.onnx", images)

    assert certificate.passed
    assert (certificate.rows, certificate.edge_rows) == (258, 2)


def test_it_is_json_without_nan(file: Path) -> None:
    certificate = certify(mlp_student(), file, numbers(2))

    told = json.loads(json.dumps(certificate.to_json(), allow_nan=False))

    assert told["passed"] is True
    assert told["parity"][3]["batch"] == 64
    assert set(told["versions"]) == {"numpy", "onnx", "onnxruntime", "torch", "python", "machine"}


@pytest.mark.parametrize(("change", "passes"), [(2e-5, True), (1e-3, False)])
def test_a_file_passes_within_the_tolerance_only(file: Path, tmp_path: Path, change: float, passes: bool) -> None:
    other = moved_by(file, change, tmp_path / "moved.onnx")

    certificate = certify(mlp_student(), other, numbers(40))

    assert certificate.passed is passes
    assert certificate.parity[0].max_abs_difference == pytest.approx(change, abs=5e-6)


def test_features_are_held_to_torchs(file: Path, tmp_path: Path) -> None:
    # The last bias of the hidden layer moved, and the head's so that the logits stay what they were.
    student, proto = mlp_student(), onnx.load(file)
    hidden = next(tensor for tensor in proto.graph.initializer if list(tensor.dims) == [8])
    head = next(tensor for tensor in proto.graph.initializer if list(tensor.dims) == [3])
    moved = np.float32(0.5)
    bias = numpy_helper.to_array(hidden).copy()
    with torch.inference_mode():
        place = int(student.eval().features(torch.from_numpy(numbers(40))).min(dim=0).values.argmax())
        column = student.head.weight[:, place].numpy()
    bias[place] += moved
    hidden.CopyFrom(numpy_helper.from_array(bias, hidden.name))
    head.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) - moved * column, head.name))
    onnx.save(proto, tmp_path / "moved.onnx")

    right, wrong = certify(student, file, numbers(40)), certify(student, tmp_path / "moved.onnx", numbers(40))

    assert right.passed
    assert max(entry.max_abs_features_difference for entry in right.parity) < 1e-4
    assert wrong.parity[0].max_abs_features_difference == pytest.approx(0.5, abs=1e-4)
    with pytest.raises(TrainingError, match=r"features by up to 0\.5"):
        wrong.require_passed()


def test_a_failed_certificate_raises_and_tells_the_batch_sizes(file: Path, tmp_path: Path) -> None:
    certificate = certify(mlp_student(), moved_by(file, 100.0, tmp_path / "moved.onnx"), numbers(40))

    with pytest.raises(TrainingError, match=r"batch 1: logits differ by up to 100.*batch 64.*not published"):
        certificate.require_passed()


def test_large_logits_are_held_to_a_relative_tolerance(tmp_path: Path) -> None:
    student = mlp_student()
    with torch.no_grad():
        student.head.weight.mul_(1e5)
    export_onnx(student, tmp_path / "student.onnx", CLASSES)

    assert certify(student, tmp_path / "student.onnx", numbers(40)).passed


def test_non_finite_logits_are_an_error_and_no_certificate(file: Path) -> None:
    rows = numbers(4)
    rows[1, 0] = np.inf

    with pytest.raises(NonFiniteError, match=r"torch student.*positions \[1,"):
        certify(mlp_student(), file, rows)


@pytest.mark.parametrize(
    "rows", [np.zeros((0, 5), np.float32), np.zeros((3, 4), np.float32), np.zeros((3, 5), np.float64)]
)
def test_rows_that_do_not_fit_the_signature_are_refused(file: Path, rows: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match=r"rows: at least one row of float32 \(5,\)"):
        certify(mlp_student(), file, rows)


def test_one_failed_batch_size_fails_the_certificate(file: Path) -> None:
    good = certify(mlp_student(), file, numbers(4))
    parity = (*good.parity[:3], replace(good.parity[3], passed=False, argmax_agreement=0.5))
    failed = Certificate(**{**vars(good), "parity": parity, "passed": False})

    with pytest.raises(TrainingError, match=r"\(batch 64: .*50.00% of 7 rows"):
        failed.require_passed()

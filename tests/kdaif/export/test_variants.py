"""fp16 and int8 files of real networks, and the gate they have to pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from kdaif.errors import TrainingError
from kdaif.export import GateRows, Variant, checked_rows, export_onnx, make_variants
from kdaif.export.timing import open_session
from kdaif.export.variant_files import write_fp16, write_int8
from kdaif.records import Bag, Cnn, Export, Mlp, Network, Resnet, TextEncoder
from kdaif.students import Student, build_student
from tests.kdaif.inputs import ARCHITECTURES, IMAGE, NUMERIC, TEXT, rows_of

CLASSES = ("cat", "dog", "owl")
# All that can be measured passes, but for what is wrong at any bar.
OPEN = Export(max_class_drop_points=100, min_agreement=0, min_gain=0, max_slowdown=100)


_STEPS = 100


def trained(network: Network, signature: object = NUMERIC) -> tuple[Student, np.ndarray]:
    rows = rows_of(signature, 300)  # type: ignore[arg-type]
    student = build_student(network, signature, 3, rows, seed=1)  # type: ignore[arg-type]
    student.train()(torch.from_numpy(rows))  # moves what BatchNorm remembers
    with torch.no_grad():
        # Untrained, it would put nearly all rows into one class.
        student.eval().head.bias -= student(torch.from_numpy(rows)).mean(dim=0)
        labels = student(torch.from_numpy(rows)).argmax(dim=1)
    # And what tells its rows apart would be a hundredth of its largest number, which no 8 bits hold.
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        functional.cross_entropy(student(torch.from_numpy(rows)), labels).backward()
        optimizer.step()
    return student.eval(), rows


def tried(student: Student, rows: np.ndarray, folder: Path, export: Export) -> dict[str, Variant]:
    with torch.inference_mode():
        labels = student(torch.from_numpy(rows)).argmax(dim=1).numpy()
    export_onnx(student, folder / "model.onnx", CLASSES, temperature=1.5)
    checked, _ = checked_rows(student, rows)
    parts = GateRows(rows[:100], rows[100:200], labels[100:200], rows[200:], checked)
    return {variant.name: variant for variant in make_variants(folder / "model.onnx", parts, CLASSES, export)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_can_be_made_smaller_and_answers_alike(name: str, tmp_path: Path) -> None:
    student, rows = trained(*ARCHITECTURES[name])
    export_onnx(student, tmp_path / "model.onnx", CLASSES)
    write_fp16(tmp_path / "model.onnx", tmp_path / "fp16.onnx")
    write_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx", rows[:100])

    expected, _, expected_features = open_session(tmp_path / "model.onnx").run(None, {"input": rows})
    for file, bar in (("fp16.onnx", 0.01), ("int8.onnx", 0.1)):
        session = open_session(tmp_path / file)
        logits, probabilities, features = session.run(None, {"input": rows})
        # Of what tells rows apart, the mean being 0 in each class.
        assert np.sqrt(((logits - expected) ** 2).mean()) < bar * expected.std(), file
        assert np.sqrt(((features - expected_features) ** 2).mean()) < bar * expected_features.std(), file
        assert logits.dtype == probabilities.dtype == features.dtype == np.float32
        fp32 = open_session(tmp_path / "model.onnx")
        for ours, theirs in zip(
            (*session.get_inputs(), *session.get_outputs()), (*fp32.get_inputs(), *fp32.get_outputs()), strict=True
        ):
            assert (ours.name, ours.type, ours.shape) == (theirs.name, theirs.type, theirs.shape)
        proto, original = onnx.load(tmp_path / file), onnx.load(tmp_path / "model.onnx")
        assert proto.metadata_props == original.metadata_props
        assert (proto.ir_version, [(e.domain, e.version) for e in proto.opset_import]) == (8, [("", 18)])


def test_what_passes_is_in_the_folder_and_measured(tmp_path: Path) -> None:
    student, rows = trained(Mlp(hidden_sizes=(256, 128)))
    found = tried(student, rows, tmp_path, Export(max_slowdown=100, min_agreement=0.9, max_class_drop_points=20))

    assert list(found) == ["fp32", "fp16", "int8"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.fp16.onnx", "model.int8.onnx", "model.onnx"]
    fp32 = found["fp32"].figures
    assert fp32 is not None
    assert (fp32.accuracy, fp32.agreement, fp32.max_abs_difference) == (1.0, 1.0, 0.0)
    assert fp32.features_cosine == pytest.approx(1.0)
    for name, share in (("fp16", 0.52), ("int8", 0.35)):
        variant, figures = found[name], found[name].figures
        assert figures is not None
        assert (variant.shipped, variant.file) == (True, f"model.{name}.onnx")
        assert "times smaller" in variant.reason
        assert figures.size_bytes == (tmp_path / variant.file).stat().st_size < share * fp32.size_bytes
        assert sum(entry.rows for entry in figures.classes.values()) == 100
        assert figures.agreement_rows == 200
        assert figures.agreement > 0.95
        assert figures.max_abs_difference > 0
        assert 0.99 < figures.features_cosine <= 1.0
        assert [entry.batch for entry in figures.batches] == [1, 2, 3, 64]
        assert figures.oldest_onnxruntime == "1.15"
    told = found["int8"].to_json()
    assert told["batches"][3]["batch"] == 64
    assert set(told["classes"]) == set(CLASSES)


def hostile(scale: float) -> tuple[Student, np.ndarray]:
    """Computes what it did, but a few hidden numbers are ``scale`` times larger and their weights as much smaller."""
    student, rows = trained(Mlp(hidden_sizes=(64, 64)))
    first, second = [module for module in student.body if isinstance(module, torch.nn.Linear)]
    with torch.no_grad():
        first.weight[:4] *= scale
        first.bias[:4] *= scale
        second.weight[:, :4] /= scale
    return student, rows


def test_e5_int8_of_a_network_that_does_not_bear_it_stays_out(tmp_path: Path) -> None:
    student, rows = hostile(3000.0)
    found = tried(student, rows, tmp_path, Export(max_slowdown=100, min_gain=0))

    int8 = found["int8"]
    assert not int8.shipped
    assert "min_agreement asks for 99.00%" in int8.reason
    assert int8.figures is not None
    assert int8.figures.agreement < 0.9
    assert found["fp16"].shipped
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.fp16.onnx", "model.onnx"]


@pytest.mark.parametrize(("network", "signature"), [(Cnn(), IMAGE), (Mlp(), NUMERIC), (TextEncoder(), TEXT)])
def test_e5_nothing_is_quantised_dynamically(network: Network, signature: object, tmp_path: Path) -> None:
    student, rows = trained(network, signature)
    export_onnx(student, tmp_path / "model.onnx", CLASSES)
    write_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx", rows)
    used = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= used
    assert not used & {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul"}


def test_e5_a_file_that_gains_nothing_stays_out(tmp_path: Path) -> None:
    # Nearly all of it is embeddings, which int8 leaves as they are.
    student, rows = trained(Bag(), TEXT)
    found = tried(student, rows, tmp_path, Export())
    assert not found["int8"].shipped
    assert "min_gain asks for at least 10% less" in found["int8"].reason
    assert not (tmp_path / "model.int8.onnx").exists()


@pytest.mark.parametrize(
    ("network", "signature"),
    [(Mlp(hidden_sizes=(64, 64)), NUMERIC), (Resnet(channels=(8, 16)), IMAGE), (TextEncoder(), TEXT)],
)
def test_e6_int8_answers_the_same_whatever_else_is_in_the_batch(
    network: Network, signature: object, tmp_path: Path
) -> None:
    student, rows = trained(network, signature)
    export_onnx(student, tmp_path / "model.onnx", CLASSES)
    write_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx", rows[:100])
    session = open_session(tmp_path / "int8.onnx")
    alone = np.concatenate([session.run(None, {"input": rows[[i]]})[0] for i in range(40)])
    # A neighbour far outside must not move the others either.
    neighbours = np.concatenate([rows[:40], rows[40:41] * 0 + rows.max()])
    np.testing.assert_allclose(session.run(None, {"input": neighbours})[0][:40], alone, atol=1e-5)


def test_weights_beyond_fp16_leave_that_variant_out_and_say_so(tmp_path: Path) -> None:
    student, rows = hostile(1e6)
    found = tried(student, rows, tmp_path, OPEN)
    assert not found["fp16"].shipped
    assert found["fp16"].reason.startswith("it could not be made: TrainingError: weight ")
    assert "fp16 ends at 65504" in found["fp16"].reason
    assert "size_bytes" not in found["fp16"].to_json()
    assert not (tmp_path / "model.fp16.onnx").exists()


def test_raw_numbers_of_any_size_go_through_the_preprocessing_of_every_variant(tmp_path: Path) -> None:
    rows = 1e7 + 1e5 * np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    student = build_student(Mlp(hidden_sizes=(64,)), NUMERIC, 3, rows, seed=1).eval()
    found = tried(student, rows, tmp_path, OPEN)
    for name in ("fp16", "int8"):
        figures = found[name].figures
        assert figures is not None
        assert figures.agreement > 0.97


def test_only_what_is_wanted_is_tried(tmp_path: Path) -> None:
    student, rows = trained(Mlp())
    assert list(tried(student, rows, tmp_path, Export(variants=("fp32",)))) == ["fp32"]
    assert list(tried(student, rows, tmp_path, Export(variants=("int8",)))) == ["fp32", "int8"]


def test_e3_an_fp32_file_that_the_promised_runtime_cannot_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdaif.export.runtimes._OLDEST", {(18, 8): "1.18"})
    student, rows = trained(Mlp())
    with pytest.raises(
        TrainingError, match=r"cannot be published: .*needs onnxruntime 1\.18 .*min_runtime promises 1\.16"
    ):
        tried(student, rows, tmp_path, Export(min_runtime="1.16"))


def test_e10_variants_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    student, rows = trained(Cnn(), IMAGE)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        export_onnx(student, tmp_path / name / "model.onnx", CLASSES)
        write_fp16(tmp_path / name / "model.onnx", tmp_path / name / "fp16.onnx")
        write_int8(tmp_path / name / "model.onnx", tmp_path / name / "int8.onnx", rows)
    for file in ("model.onnx", "fp16.onnx", "int8.onnx"):
        content = (tmp_path / "a" / file).read_bytes()
        assert content == (tmp_path / "b" / file).read_bytes()
        assert str(tmp_path).encode() not in content

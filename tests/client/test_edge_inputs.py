"""Rows as people have them give the probabilities of the rows that the student learned from."""

import hashlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from kdaif_client import Student
from kdaif_client.errors import CorruptDownload, InvalidArgument, MissingDependency, NotFound, ServerError
from PIL import Image

from kdaif.datasets import InputSignature
from kdaif.datasets.pictures import decode
from kdaif.export import export_onnx, write_manifest, write_tokenizer
from kdaif.records import Cnn
from kdaif.students import build_student
from tests.kdaif.inputs import ARCHITECTURES, rows_of

CLASSES = ("cat", "dog", "owl")


def bundle(name: str, folder: Path) -> Any:
    """Writes the bundle and returns the torch student."""
    network, signature = ARCHITECTURES[name]
    student = build_student(network, signature, 3, rows_of(signature, 60), seed=1).eval()
    export_onnx(student, folder / "model.onnx", CLASSES)
    write_tokenizer(folder, signature)
    write_manifest(
        folder,
        job="j",
        attempt=1,
        class_names=CLASSES,
        signature=signature,
        n_features=student.head.in_features,
        dataset_sha256={},
        created={},
    )
    return student


def probabilities(student: Any, rows: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return torch.softmax(student(torch.from_numpy(rows)), dim=1).numpy()


TEXTS = ["red car", "old blue boat and a new red bike and a car", "", "nothing known"]
IDS = np.array(
    [[2, 7, 0, 0, 0, 0], [5, 4, 8, 1, 1, 6], [0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]],
    dtype=np.int32,
)


@pytest.mark.parametrize("name", ["bag-hidden", "text-encoder"])
def test_texts_are_cut_into_the_word_pieces_of_the_training(name: str, tmp_path: Path) -> None:
    want = probabilities(bundle(name, tmp_path), IDS)
    student = Student.open(tmp_path)
    for X in (TEXTS, tuple(TEXTS), np.array(TEXTS), pd.Series(TEXTS), {"text": TEXTS}, pd.DataFrame({"text": TEXTS})):
        np.testing.assert_allclose(student.predict_proba(X), want, atol=1e-5)
    assert student.predict(TEXTS).tolist() == [CLASSES[place] for place in want.argmax(axis=1)]
    assert student.predict_proba([]).shape == (0, 3)
    assert "texts: a list of str" in repr(student)


@pytest.mark.parametrize(
    ("X", "says"),
    [
        ("red car", r"is one str.*send \[X\]"),
        (["red", None, 3.0], r"is no str in 2 rows, first \[1, 2\] \(NoneType\)"),
        ([["red"], ["car"]], r"has shape \[2, 1\]"),
        ({"words": ["red"]}, "lacks the columns text"),
    ],
)
def test_what_is_no_text_is_refused(X: Any, says: str, tmp_path: Path) -> None:
    bundle("bag", tmp_path)
    with pytest.raises(InvalidArgument, match=says):
        Student.open(tmp_path).predict(X)


def test_the_tokenizer_is_verified_as_every_file_and_needs_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle("bag", tmp_path)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "tokenizers", None)
        with pytest.raises(
            MissingDependency, match=r"tokenizers is not installed .*pip install 'kdaif-client\[edge\]'"
        ):
            Student.open(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CorruptDownload, match=r"tokenizer\.json is not what was published"):
        Student.open(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["files"]["tokenizer.json"] = {"sha256": hashlib.sha256(b"{}").hexdigest(), "size_bytes": 2}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ServerError, match=r"cannot read .*tokenizer\.json"):
        Student.open(tmp_path)


# As `TABLE` of tests.kdaif.inputs has it: age and colour may be null, height and size not.
RAW = {
    "age": [31.0, None, 50.0, 44.0],
    "colour": ["red", "blue", "violet", None],
    "height": [50, 60, 40, 55],
    "size": [1, 2, 7, 1],
}
CODED = np.array([[31, 1, 50, 1], [np.nan, 3, 60, 2], [50, 0, 40, 0], [44, 0, 55, 1]], dtype=np.float32)


@pytest.mark.parametrize("name", ["mlp-table", "layers-table"])
def test_categories_come_by_name_and_nulls_where_the_student_knows_them(name: str, tmp_path: Path) -> None:
    want = probabilities(bundle(name, tmp_path), CODED)
    student = Student.open(tmp_path)
    frame = pd.DataFrame(RAW)
    for X in (
        RAW,
        frame,
        frame[["size", "colour", "height", "age"]],
        frame.assign(size=["1", "2", "7", "1"]),
        frame.assign(size=[1.0, 2.0, 7.0, 1.0]),
        frame.astype({"age": "Float64", "colour": "string"}),
        frame.astype({"colour": "category"}),
        list(zip(*RAW.values(), strict=True)),
    ):
        np.testing.assert_allclose(student.predict_proba(X), want, atol=1e-6)
    polars = pytest.importorskip("polars")
    np.testing.assert_allclose(student.predict_proba(polars.DataFrame(RAW)), want, atol=1e-6)
    assert student.predict_proba(frame[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"height": [1.0, np.nan, 2.0, None]}, r"no value in column height in 2 rows, first \[1, 3\]"),
        ({"size": [1, None, 2, 1]}, r"no value in column size in 1 rows, first \[1\]"),
        ({"age": ["31", 1, 1, 1]}, "something else than numbers in column age: '31'"),
        ({"age": [1.0, np.inf, 1e300, 1]}, r"infinite or beyond float32 in column age in 2 rows, first \[1, 2\]"),
        ({"age": [1.0]}, "different lengths: age 1, colour 4"),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_the_column(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    bundle("mlp-table", tmp_path)
    with pytest.raises(InvalidArgument, match=says):
        Student.open(tmp_path).predict({**RAW, **change})


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    bundle("mlp-table", tmp_path)
    student = Student.open(tmp_path)
    with pytest.raises(InvalidArgument, match=r"lacks the columns size; this student takes values \[N, 4\]"):
        student.predict({name: values for name, values in RAW.items() if name != "size"})
    with pytest.raises(InvalidArgument, match=r"has shape \[1, 3\]"):
        student.predict([["red", 1, 2]])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_embed_gives_what_the_last_layer_sees(name: str, tmp_path: Path) -> None:
    trained, signature = bundle(name, tmp_path), ARCHITECTURES[name][1]
    if signature.kind == "text":
        X, encoded = TEXTS, IDS
    elif signature.categories:
        X, encoded = pd.DataFrame(RAW), CODED
    else:
        X = encoded = rows_of(signature, 5)
    with torch.inference_mode():
        expected = trained.features(torch.from_numpy(encoded)).numpy()
    student = Student.open(tmp_path)
    embedded = student.embed(X)
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, expected, atol=1e-5)
    assert student.embed(X[:0]).shape == (0, trained.head.in_features)
    assert student.manifest["output_shapes"]["features"] == ["batch", trained.head.in_features]


def test_the_code_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "student").mkdir()
    bundle("mlp", tmp_path / "student")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "edge.md").read_text()
    (code,) = re.findall(r"```python\n(import numpy.*?)```", page, flags=re.DOTALL)
    exec(compile(code, "edge.md", "exec"), {})  # noqa: S102
    places, names = capsys.readouterr().out.strip("[]\n").split("] [")
    assert len(set(places.split())) == 5
    assert set(names.replace("'", "").split()) <= set(CLASSES)


def pictures(size: tuple[int, int]) -> list[bytes]:
    """Colour pictures of one size, as PNG (one of them with an opaque alpha channel) and as JPEG."""
    rng = np.random.default_rng(4)
    made = []
    for kind in ("PNG", "JPEG", "RGBA"):
        picture = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        sink = io.BytesIO()
        (picture.convert("RGBA") if kind == "RGBA" else picture).save(sink, "PNG" if kind == "RGBA" else kind)
        made.append(sink.getvalue())
    return made


def coloured(folder: Path, *, scaled: bool) -> Any:
    signature = InputSignature("image", (9, 8, 3), ("image",))
    student = build_student(Cnn(channels=(3,), hidden_size=5), signature, 3, rows_of(signature, 60), seed=1).eval()
    export_onnx(student, folder / "model.onnx", CLASSES)
    told: dict[str, Any] = {"dataset_sha256": {}, "created": {}, "signature": signature, "scaled": scaled}
    write_manifest(folder, job="j", attempt=1, class_names=CLASSES, n_features=5, **told)
    return student


def test_pictures_become_the_rows_of_the_training(tmp_path: Path) -> None:
    """The same pixels, bit for bit, whatever the size that is scaled."""
    student, alone = coloured(tmp_path, scaled=True), Student.open(tmp_path)
    files = pictures((9, 8)) + pictures((40, 23)) + pictures((5, 4))
    learned, broken, _ = decode(pa.chunked_array([files]), np.ones(len(files), dtype=bool), (9, 8, 3))
    assert not broken.any()
    np.testing.assert_array_equal(alone._inputs.rows(files), learned)
    paths = []
    for place, data in enumerate(files):
        (tmp_path / str(place)).write_bytes(data)
        paths.append(tmp_path / str(place))
    forms = (files, np.array(files, dtype=object), [str(path) for path in paths], paths, pd.DataFrame({"image": files}))
    for X in forms:
        np.testing.assert_allclose(alone.predict_proba(X), probabilities(student, learned), atol=1e-5)


def test_pictures_that_the_training_refuses_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coloured(tmp_path, scaled=False)
    alone = Student.open(tmp_path)
    alone.predict(pictures((9, 8)))
    grey, see_through = io.BytesIO(), io.BytesIO()
    Image.new("L", (8, 9)).save(grey, "PNG")
    Image.new("RGBA", (8, 9)).save(see_through, "PNG")
    wrong = {
        "9 x 8 alone": pictures((40, 23))[0],
        "mode L": grey.getvalue(),
        "see-through": see_through.getvalue(),
        "damaged": b"no picture",
        "cut short": pictures((9, 8))[0][:-30],
    }
    for says, data in wrong.items():
        with pytest.raises(InvalidArgument, match=f"row 1.*{says}"):
            alone.predict([pictures((9, 8))[0], data])
    with pytest.raises(InvalidArgument, match=r"send \[X\]"):
        alone.predict(pictures((9, 8))[0])
    with pytest.raises(NotFound, match="nowhere"):
        alone.predict(["/nowhere.png"])
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingDependency, match="pictures"):
        alone.predict(pictures((9, 8)))

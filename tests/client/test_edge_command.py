"""`kdaif-edge`: a file or a folder in, predictions out; what it refuses, and with which exit code."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kdaif_client import Student
from kdaif_client.edge import main
from PIL import Image

from tests.client.conftest import Bundle, make_bundle

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(7, 3)) * 300


def laid(bundle: Bundle, folder: Path) -> Path:
    folder.mkdir()
    for name, data in bundle.files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def numbers(numeric_bundle: Bundle, tmp_path: Path) -> Path:
    return laid(numeric_bundle, tmp_path / "student")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = [f"{row[2]!r},x,{row[0]!r},{row[1]!r}" for row in ROWS.tolist()]
    (tmp_path / "rows.csv").write_text("\n".join(["weight,more,age,height", *lines]) + "\n")
    return tmp_path / "rows.csv"


def test_a_csv_in_batches(numbers: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.csv"
    assert main([str(numbers), str(table), "--output", str(out), "--batch-rows", "3", "--abstain-below", "0.6"]) == 0
    want = Student.open(numbers).decide(ROWS, abstain_below=0.6)
    assert 0 < want.abstained.sum() < len(ROWS)
    found = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["row"] for row in found] == [str(place) for place in range(7)]
    assert [row["label"] for row in found] == want.labels.tolist()
    assert [row["abstained"] == "true" for row in found] == want.abstained.tolist()
    np.testing.assert_allclose([float(row["confidence"]) for row in found], want.confidences, atol=1e-5)
    assert capsys.readouterr().err.splitlines() == ["3 rows", "6 rows", "7 rows"]


def test_json_lines_to_standard_output(numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps(dict(zip(("age", "height", "weight"), row, strict=True))) for row in ROWS.tolist()]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    assert main([str(numbers), str(tmp_path / "rows.jsonl"), "--format", "jsonl", "--quiet"]) == 0
    told = capsys.readouterr()
    found = [json.loads(line) for line in told.out.splitlines()]
    assert [row["label"] for row in found] == Student.open(numbers).predict(ROWS).tolist()
    assert {row["abstained"] for row in found} == {False}
    assert [row["row"] for row in found] == list(range(len(ROWS)))
    assert told.err == ""


def test_a_folder_of_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle("image", (8, 8, 1), ["image"])
    manifest = json.loads(bundle.files["manifest.json"])
    manifest["input"]["pictures"] = {"formats": ["PNG", "JPEG"], "mode": "L", "resize": None}
    files = bundle.files | {"manifest.json": json.dumps(manifest).encode()}
    student = laid(Bundle(files, bundle.matrix), tmp_path / "student")
    pixels = RNG.integers(0, 256, (3, 8, 8), dtype=np.uint8)
    (tmp_path / "pictures" / "deep").mkdir(parents=True)
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    names = ["a.png", "b.png", "deep/c.png"]
    for name, each in zip(names, pixels, strict=True):
        Image.fromarray(each).save(tmp_path / "pictures" / name)
    assert main([str(student), str(tmp_path / "pictures")]) == 0
    found = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["row"] for row in found] == names
    assert [row["label"] for row in found] == Student.open(student).predict(pixels).tolist()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("age,height\n1,2\n", "lacks the columns weight"),
        ("age,height,weight\n1,2,3\n1,old,3\n", "'old' for a number in column height, .*line 3"),
        ("age,height,weight\n1,2\n", "another number of cells than columns in .*line 2"),
        ("age,height,weight\n1,2,3\n1,,3\n", r"rows from 0 on: .*in 1 rows, first \[1\]"),
    ],
)
def test_a_wrong_csv_is_refused_and_leaves_no_output(
    numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    (tmp_path / "bad.csv").write_text(text)
    before = sorted(tmp_path.iterdir())
    assert main([str(numbers), str(tmp_path / "bad.csv"), "--output", str(tmp_path / "out.csv")]) == 2
    assert re.search(says, capsys.readouterr().err)
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_at_fault_is_the_exit_code(numbers: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(numbers), str(table), "--abstain-below", "1.5"]) == 2
    assert main([str(numbers), str(table), "--variant", "int8"]) == 2
    assert main([str(numbers), str(numbers)]) == 2
    assert main([str(numbers), str(table) + "x"]) == 1
    assert capsys.readouterr().out == "", "the head of a table that does not come"
    (numbers / "model.onnx").write_bytes(b"x")
    assert main([str(numbers), str(table)]) == 1
    assert "model.onnx is not what was published" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_ends_it_quietly(numbers: Path, table: Path) -> None:
    command = "import sys; from kdaif_client.edge import main; sys.exit(main())"
    arguments = [sys.executable, "-c", command, str(numbers), str(table), "--quiet"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        assert (run.stderr.read(), run.wait(30)) == ("", 0)

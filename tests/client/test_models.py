"""Models of one's own: what is sent of them, and that the same files are the same bytes."""

from __future__ import annotations

import io
import os
import re
import tarfile
from pathlib import Path

import kdaif_client
import pytest
from kdaif_client import Client, DatasetKind, Spec
from kdaif_client._convert_spec import spec_to_proto
from kdaif_client.errors import InvalidArgument, NotFound

from tests.client.small_server import SmallServer


def directory(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(name.encode() * 100)
    return folder


def sent(server: SmallServer) -> bytes:
    (content,) = server.state.contents.values()
    return bytes(content)


def test_a_directory_is_one_tar_of_what_is_needed_alone(client: Client, server: SmallServer, tmp_path: Path) -> None:
    names = ("tokenizer.json", "model.safetensors", "config.json", "vocab.txt", "README.md", "train.py", "model.bin")
    folder = directory(tmp_path / "encoder", *names)
    (folder / "onnx").mkdir()
    first = client.upload_model(folder, "encoder")
    assert first.kind is DatasetKind.TRANSFORMER
    with tarfile.open(fileobj=io.BytesIO(sent(server))) as archive:
        entries = archive.getmembers()
        assert [entry.name for entry in entries] == ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]
        assert {(entry.mtime, entry.uid, entry.gid, entry.uname) for entry in entries} == {(0, 0, 0, "")}
        file = archive.extractfile("vocab.txt")
        assert file is not None
        assert file.read() == b"vocab.txt" * 100
    os.utime(folder / "config.json", (1e9, 1e9))
    (folder / "README.md").unlink()
    assert client.upload_model(folder, "again").name == first.name


@pytest.mark.parametrize(("name", "kind"), [("a.onnx", DatasetKind.ONNX), ("a.safetensors", DatasetKind.SAFETENSORS)])
def test_a_file_is_sent_as_it_is(client: Client, server: SmallServer, tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b"bytes")
    assert client.upload_model(tmp_path / name, "m").kind is kind
    assert sent(server) == b"bytes"


def test_pickled_weights_are_refused_with_the_fix(client: Client, tmp_path: Path) -> None:
    folder = directory(tmp_path / "old", "config.json", "pytorch_model.bin")
    for given in (folder, folder / "pytorch_model.bin"):
        with pytest.raises(InvalidArgument, match="safe_serialization"):
            client.upload_model(given, "old")


def test_what_is_no_model_is_refused(client: Client, tmp_path: Path) -> None:
    folder = directory(tmp_path / "half", "config.json", "tokenizer.json")
    for given in (folder, folder / "tokenizer.json"):
        with pytest.raises(InvalidArgument, match=r"\.onnx file"):
            client.upload_model(given, "half")
    with pytest.raises(NotFound):
        client.upload_model(tmp_path / "nothing.onnx", "nothing")


def test_a_packed_directory_is_sent_as_it_is(client: Client, server: SmallServer, tmp_path: Path) -> None:
    (tmp_path / "m.tar").write_bytes(b"packed")
    assert client.upload_model(tmp_path / "m.tar").kind is DatasetKind.TRANSFORMER
    assert sent(server) == b"packed"


def test_a_model_that_is_not_named_is_called_as_its_file(client: Client, tmp_path: Path) -> None:
    (tmp_path / "teacher.v2.onnx").write_bytes(b"bytes")
    assert client.upload_model(tmp_path / "teacher.v2.onnx").display_name == "teacher.v2"
    folder = directory(tmp_path / "MiniLM-v1.5", "config.json", "model.safetensors")
    assert client.upload_model(f"{folder}/").display_name == "MiniLM-v1.5"


README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("code", re.findall(r"`(\w+Teacher\(.*?\))`", README.read_text()))
def test_what_the_readme_says_of_teachers_is_true(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teacher.onnx").write_bytes(b"bytes")
    directory(tmp_path / "MiniLM", "config.json", "model.safetensors")
    names = {**vars(kdaif_client), "kdaif": client, "class_names": ("cat", "dog")}
    made = eval(code.replace("[...]", "[ColumnTeacher('label'), TrainedTeacher()]"), names)  # noqa: S307
    spec_to_proto(Spec(labeled="0" * 32, unlabeled="1" * 32, teacher=made), "default")

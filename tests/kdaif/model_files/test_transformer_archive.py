"""A packed model directory is looked at and unpacked without trusting it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from kdaif.errors import InvalidInputError
from kdaif.model_files import inspect_transformer, transformer_archive, unpack_transformer

CONFIG = {"model_type": "bert", "vocab_size": 5, "max_position_embeddings": 16}
TOKENIZER = {"model": {"vocab": {"a": 0, "b": 1, "c": 4}}, "added_tokens": [{"id": 3, "content": "[X]"}]}


def files() -> dict[str, bytes]:
    return {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": json.dumps(TOKENIZER).encode(),
        "model.safetensors": save({"bert.embeddings.word_embeddings.weight": np.zeros((5, 2), np.float32)}),
    }


def packed(path: Path, contents: Mapping[str, bytes], *more: tarfile.TarInfo, mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in more:
            archive.addfile(member)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInputError) as refused:
        inspect_transformer(path)
    assert refused.value.violations[0].field == "dataset"
    return refused.value.violations[0].description


def test_a_directory_is_understood_and_comes_out_as_it_went_in(tmp_path: Path) -> None:
    contents = {f"./{name}": content for name, content in files().items()} | {"1_Pooling/config.json": b"{}"}
    folder = tarfile.TarInfo("1_Pooling")
    folder.type = tarfile.DIRTYPE
    path = packed(tmp_path / "m.tar", contents, folder)
    found = inspect_transformer(path)
    assert (found.family, found.embedding_rows, found.vocabulary_size, found.max_tokens) == ("bert", 5, 5, 16)
    (tmp_path / "out").mkdir()
    unpack_transformer(path, tmp_path / "out")
    for name, content in contents.items():
        assert (tmp_path / "out" / name).read_bytes() == content


def test_d16_a_tokenizer_that_knows_more_pieces_than_the_model_is_refused(tmp_path: Path) -> None:
    larger = {**TOKENIZER, "added_tokens": [{"id": 5, "content": "[Y]"}]}
    contents = {**files(), "tokenizer.json": json.dumps(larger).encode()}
    assert "6 word pieces, and vectors for 5" in refusal(packed(tmp_path / "m.tar", contents))
    # The weights tell, whatever the configuration says.
    claimed = {**contents, "config.json": json.dumps({**CONFIG, "vocab_size": 152_064}).encode()}
    assert "vectors for 5" in refusal(packed(tmp_path / "c.tar", claimed))
    unigram = {"model": {"vocab": [["a", 0.0]] * 7}}
    listed = {**files(), "tokenizer.json": json.dumps(unigram).encode()}
    assert "7 word pieces" in refusal(packed(tmp_path / "u.tar", listed))


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../x", "a/../../x", "a\\..\\x"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "m.tar", {**files(), name: b"x"})
    assert "leads out" in refusal(path)
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidInputError):  # looked at or not
        unpack_transformer(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("vocab.txt")
    member.type, member.linkname = kind, "/etc/passwd"
    assert "no plain file" in refusal(packed(tmp_path / "m.tar", files(), member))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.PKL", "modeling.py", "deep/weights.pt"])
def test_what_runs_code_is_refused(tmp_path: Path, name: str) -> None:
    assert "run code" in refusal(packed(tmp_path / "m.tar", {**files(), name: b"x"}))


def test_own_code_named_in_the_configuration_is_refused(tmp_path: Path) -> None:
    config = json.dumps({**CONFIG, "auto_map": {"AutoModel": "modeling.Model"}}).encode()
    assert "auto_map" in refusal(packed(tmp_path / "m.tar", {**files(), "config.json": config}))


def test_broken_archives_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "uncompressed tar" in refusal(packed(tmp_path / "m.tar.gz", files(), mode="w:gz"))
    (tmp_path / "no.tar").write_bytes(b"not a tar" * 100)
    assert "uncompressed tar" in refusal(tmp_path / "no.tar")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        fewer = {other: content for other, content in files().items() if other != name}
        assert f"lacks {name}" in refusal(packed(tmp_path / "f.tar", fewer))
        broken = {**files(), name: b"\xff{"}
        assert name in refusal(packed(tmp_path / "b.tar", broken))
    deep = {**files(), "tokenizer.json": b"[" * 100_000}
    assert "tokenizer.json" in refusal(packed(tmp_path / "d.tar", deep))
    cut = packed(tmp_path / "cut.tar", {**files(), "model.safetensors": files()["model.safetensors"] + b"0" * 5000})
    cut.write_bytes(cut.read_bytes()[:4000])
    assert refusal(cut)
    nested = {f"model/{name}": content for name, content in files().items()}
    assert "tar -C DIRECTORY" in refusal(packed(tmp_path / "n.tar", nested))
    monkeypatch.setattr(transformer_archive, "MAX_BYTES", 100)
    assert "4 GiB" in refusal(packed(tmp_path / "big.tar", files()))

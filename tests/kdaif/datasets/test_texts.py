"""A column of texts: which rows are read, and the tokenizer that is trained on them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from kdaif.datasets.strings import Strings
from kdaif.datasets.texts import as_read, encode, train_tokenizer, without_pieces
from kdaif.records import Cnn, Inputs, Severity, Teacher, TrainedTeacher
from tests.kdaif.datasets.conftest import MakeJob, column_teacher
from tests.kdaif.datasets.real_data import banking, youtube

READER: dict[str, Any] = {"teacher": {"source": {"kind": "train", "architecture": {"kind": "bag"}}}}
SMALL = {"vocabulary_size": 400, "max_tokens": 12}


def sets(labeled: list[Any], unlabeled: list[Any]) -> dict[str, pa.Table]:
    return {
        "labeled": pa.table(
            {
                "id": [f"l{row}" for row in range(len(labeled))],
                "text": labeled,
                "label": [f"c{row % 2}" for row in range(len(labeled))],
            }
        ),
        "unlabeled": pa.table({"id": [f"u{row}" for row in range(len(unlabeled))], "text": unlabeled}),
    }


def sentences(rows: int, start: int = 0) -> list[Any]:
    return [f"The café number {row} is {'good' if row % 2 else 'bad'}" for row in range(start, start + rows)]


def test_texts_become_word_pieces(job: MakeJob) -> None:
    made = job(youtube(), inputs=SMALL, **READER)
    report, data = made.preflight(), made.prepare()
    assert report == data.report
    assert data.report.errors == ()
    assert (data.signature.kind, data.signature.shape, data.signature.columns) == ("text", (12,), ("text",))
    alone = Tokenizer.from_str(data.signature.tokenizer)
    for rows in (data.labeled, data.validation, data.gate, data.unlabeled, data.test):
        assert rows.features.dtype == np.int32
        assert rows.features.shape == (len(rows), 12)
        assert rows.texts is not None
        assert [each.ids for each in alone.encode_batch(list(rows.texts))] == rows.features.tolist()
        assert (rows.features[:, 0] != 0).all()
    stored = dict(zip(*(youtube()["unlabeled"][name].to_pylist() for name in ("id", "text")), strict=True))
    assert [stored[i] for i in data.unlabeled.ids] == list(data.unlabeled.texts)  # type: ignore[arg-type]


def test_texts_of_training_and_test_are_found(job: MakeJob) -> None:
    found = [
        f for f in job(youtube(), inputs=SMALL, **READER).preflight().findings if f.code == "TRAINING_ROW_HELD_OUT"
    ]
    assert sum(f.row_count for f in found) >= 6


def test_many_classes_of_real_questions(job: MakeJob) -> None:
    data = job(banking(), inputs={"vocabulary_size": 2000, "max_tokens": 24}, **READER).prepare()
    assert len(data.class_names) >= 70
    unknown = float((data.test.features == 1).sum() / (data.test.features > 0).sum())
    assert unknown < 0.001
    texts = np.array(["I am still waiting on my card?"], dtype=object)
    pieces = encode(data.signature.tokenizer, texts)[0]
    assert (pieces > 1).sum() == 8  # all of these words are common: one piece each


def test_the_tokenizer_is_the_same_in_every_process(tmp_path: Path) -> None:
    rows = [text.as_py() for text in banking()["labeled"]["text"]]
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps(rows))
    program = (
        "import json, sys; from kdaif.datasets.texts import train_tokenizer; from kdaif.records import Inputs; "
        "print(train_tokenizer(json.load(open(sys.argv[1])), Inputs(vocabulary_size=1000)), end='')"
    )
    made = [
        subprocess.run([sys.executable, "-c", program, str(texts)], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    ]
    assert made == [train_tokenizer(rows, Inputs(vocabulary_size=1000))] * 3


def test_case_and_accents(job: MakeJob) -> None:
    folded = job(sets(sentences(60), sentences(30, 100)), inputs=SMALL, **READER).prepare().signature.tokenizer
    texts = np.array(["the CAFE is good", "The café is good"], dtype=object)
    assert len(np.unique(encode(folded, texts), axis=0)) == 1
    kept = job(sets(sentences(60), sentences(30, 100)), inputs={**SMALL, "lower_case": False}, **READER).prepare()
    assert len(np.unique(encode(kept.signature.tokenizer, texts), axis=0)) == 2


def test_the_numbers_of_padding_and_unknown_cannot_be_spelled() -> None:
    tokenizer = train_tokenizer(["the cat sat", "[PAD] on [UNK] mats", "PAD UNK pad unk"] * 9, Inputs(max_tokens=16))
    assert Tokenizer.from_str(tokenizer).token_to_id("[PAD]") == 0
    assert Tokenizer.from_str(tokenizer).token_to_id("[UNK]") == 1
    spelled, foreign = encode(tokenizer, np.array(["[PAD] [UNK] cat", "猫"], dtype=object))
    used = int((spelled > 0).sum())
    assert (spelled[:used] > 1).all()
    assert used >= 7
    assert 1 in foreign


def test_a_script_of_many_characters_leaves_room_for_merges() -> None:
    texts = [chr(0x4E00 + row) + " common words" for row in range(3000)]
    tokenizer = Tokenizer.from_str(train_tokenizer(texts, Inputs(vocabulary_size=300)))
    assert tokenizer.get_vocab_size() == 300
    assert "▁common" in tokenizer.get_vocab()


@pytest.mark.parametrize("text", ["", "   ", "\t\n", "\u200b\x07", "\u0301", "\ufffd"])
def test_a_text_without_a_word_piece_is_rejected_alone(job: MakeJob, text: str) -> None:
    made = job(sets(sentences(60), [*sentences(29, 100), text]), inputs=SMALL, **READER)
    finding = made.finding("EMPTY_TEXT")
    assert (finding.severity, finding.row_count, finding.ids) == (Severity.WARNING, 1, ("u29",))
    assert len(made.prepare().unlabeled) == 29


@pytest.mark.parametrize("text", ["!", "猫", "ß", "5", "👍", " a "])
def test_what_the_check_lets_through_has_a_word_piece(text: str) -> None:
    texts = pa.array([text], pa.large_string())
    assert without_pieces(as_read(texts, lower_case=True)).tolist() == [False]
    assert encode(train_tokenizer(["some words"], Inputs()), Strings(texts))[0, 0] != 0


def test_a_null_text_is_rejected_alone(job: MakeJob) -> None:
    made = job(sets(sentences(60), [None, *sentences(29, 100)]), inputs=SMALL, **READER)
    assert made.finding("NULL_FEATURE").ids == ("u0",)
    assert made.codes() & {"EMPTY_TEXT"} == set()


def test_text_is_the_whole_input(job: MakeJob) -> None:
    tables = sets(sentences(60), sentences(30, 100))
    tables["labeled"] = tables["labeled"].append_column("stars", pa.array([1.0] * 60))
    assert "'stars'" in job(tables, **READER).finding("MIXED_FEATURES").message
    numbers_ = {
        role: table.set_column(1, "text", pa.array(np.arange(float(table.num_rows))))
        for role, table in sets(sentences(60), sentences(30)).items()
    }
    assert {f.code for f in job(numbers_).preflight().errors} == {"TEXT_TYPE"}


@pytest.mark.parametrize("student", ["mlp", "cnn", "layers"])
def test_students_that_read_no_text_are_refused(job: MakeJob, student: str) -> None:
    kind: dict[str, Any] = {"kind": student}
    if student == "layers":
        kind["layers"] = [{"kind": "linear", "width": 8}]
    errors = job(sets(sentences(60), sentences(30, 100)), student=kind, **READER).preflight().errors
    assert {error.field for error in errors} == {"spec.student"}


def test_a_teacher_that_reads_no_text_is_refused(job: MakeJob) -> None:
    tables = sets(sentences(60), sentences(30, 100))
    assert not job(tables, inputs=SMALL).preflight().errors  # one that is not named reads text where the data are texts
    pictures = Teacher(source=TrainedTeacher(architecture=Cnn()))
    finding = job(tables, inputs=SMALL, teacher=pictures).finding("WRONG_ARCHITECTURE")
    assert finding.field == "spec.teacher.train.architecture"


def test_d6_a_class_of_texts_without_labelled_rows_goes_on(job: MakeJob) -> None:
    tables = sets(sentences(60), sentences(30, 100))
    tables["unlabeled"] = tables["unlabeled"].append_column("teacher_logits", pa.array([[1.0, 0.0, 2.0]] * 30))
    made = job(tables, inputs=SMALL, teacher=column_teacher(names=("c0", "c1", "c2")))
    assert "'c2'" in made.finding("CLASS_WITHOUT_LABELED_ROWS").message
    assert made.prepare().class_names == ("c0", "c1", "c2")


def test_d12_texts_of_both_sets_are_found(job: MakeJob) -> None:
    tables = sets(sentences(60), [*sentences(30, 100), *sentences(5)])
    made = job(tables, inputs=SMALL, **READER)
    assert made.finding("UNLABELED_ROW_IN_LABELED").row_count == 5
    assert len(made.prepare().unlabeled) == 30
    tables["unlabeled"] = tables["labeled"].drop_columns(["label"])
    assert job(tables, **READER).finding("NO_ROWS_LEFT").field == "spec.unlabeled"


def test_d13_a_text_in_another_case_or_with_other_blanks_is_the_same_row(job: MakeJob) -> None:
    """D13: to a student that folds case they are one row, and a test row must not be trained on."""
    given = sets(sentences(40), sentences(30, 100))
    given["unlabeled"] = pa.table(
        {"id": given["unlabeled"]["id"], "text": ["THE  Cafe number 3 is good ", *sentences(29, 100)]}
    )
    made = job(given, inputs=SMALL, **READER)
    assert made.finding("UNLABELED_ROW_IN_LABELED").row_count == 1
    exact = job(given, inputs=SMALL | {"lower_case": False}, **READER)
    assert "UNLABELED_ROW_IN_LABELED" not in {finding.code for finding in exact.preflight().findings}

"""A teacher that names classes, or whose rules vote: case numbers as in the names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdaif.records import Severity
from tests.kdaif.datasets.conftest import MakeJob, numbers, pair

ROWS = 90
RIGHT = np.arange(ROWS) % 3
NAMES = [f"c{label}" for label in RIGHT]
LABELS = {"source": {"kind": "column", "outputs": "label"}}


def labels(**more: Any) -> dict[str, Any]:
    return {"source": {**LABELS["source"], **more}}


def spoken(data: Any) -> np.ndarray:
    assert data.unlabeled.teacher_logits is not None
    return np.exp(data.unlabeled.teacher_logits)


def test_a_class_name_becomes_a_smoothed_soft_target(job: MakeJob) -> None:
    data = job(pair(teacher_label=NAMES), teacher=LABELS).prepare()
    said = spoken(data)
    np.testing.assert_allclose(said[0], [0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3], rtol=1e-5)
    assert np.array_equal(said.argmax(axis=1), RIGHT)
    hard = spoken(job(pair(teacher_label=NAMES), teacher=labels(label_smoothing=0.0)).prepare())
    np.testing.assert_allclose(hard, np.eye(3)[RIGHT], atol=1e-6)


def test_votes_become_shares_and_a_row_of_abstentions_is_rejected(job: MakeJob) -> None:
    votes: list[Any] = [["c0", "c0", "c1", None], ["c2"], [None, None], [], None, *[["c0"]] * (ROWS - 5)]
    made = job(pair(teacher_label=votes), teacher=labels(label_smoothing=0.3))
    finding = made.finding("TEACHER_ROW_MISSING")
    assert finding.ids == ("u2", "u3", "u4")
    data = made.prepare()
    assert len(data.unlabeled) == ROWS - 3
    np.testing.assert_allclose(
        spoken(data)[:2], 0.7 * np.array([[2 / 3, 1 / 3, 0], [0, 0, 1]]) + 0.1, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("stored", "known"),
    [
        (lambda codes: pa.array(codes, pa.int16()), [0, 1]),
        (lambda codes: pa.array([bool(code) for code in codes]), [False, True]),
        (lambda codes: pa.array([[code, None] for code in codes], pa.list_(pa.int8())), [0, 1]),
        (lambda codes: pa.array([str(code) for code in codes]).dictionary_encode(), ["0", "1"]),
    ],
)
def test_names_may_be_stored_as_labels_are(job: MakeJob, stored: Any, known: list[Any]) -> None:
    two = np.arange(ROWS) % 2
    labeled = pa.table(numbers(60, seed=1, prefix="l", classes=2, labels=[known[row % 2] for row in range(60)]))
    unlabeled = pa.table({**numbers(ROWS, seed=2, prefix="u", classes=2, labels=None), "teacher_label": stored(two)})
    data = job({"labeled": labeled, "unlabeled": unlabeled}, teacher=LABELS).prepare()
    assert np.array_equal(spoken(data).argmax(axis=1), two)


def test_an_unknown_name_is_refused_with_its_count(job: MakeJob) -> None:
    wrong = [*["cat"] * 2, "dog", *NAMES[3:]]
    finding = job(pair(teacher_label=wrong), teacher=LABELS).finding("TEACHER_UNKNOWN_CLASS")
    assert finding.severity is Severity.ERROR
    assert "'cat' (2 times), 'dog' (1 times)" in finding.message
    assert finding.ids == ("u0", "u1", "u2")
    many = [f"x{row}" for row in range(12)] + NAMES[12:]
    assert "and 2 more" in job(pair(teacher_label=many), teacher=LABELS).finding("TEACHER_UNKNOWN_CLASS").message


def test_minus_one_is_a_name_and_no_abstention(job: MakeJob) -> None:
    finding = job(pair(teacher_label=[-1] * ROWS), teacher=LABELS).finding("TEACHER_UNKNOWN_CLASS")
    assert "'-1' (90 times)" in finding.message
    assert "null where the teacher abstains" in finding.message


def test_a_type_without_names_is_refused(job: MakeJob) -> None:
    dates = pa.array(np.zeros(ROWS, "datetime64[s]"))
    assert "timestamp" in job(pair(teacher_label=dates), teacher=LABELS).finding("TEACHER_TYPE").message


def test_d3_names_are_joined_by_id_and_names_of_other_rows_are_not_read(job: MakeJob) -> None:
    tables = pair()
    other = pa.table({"id": [*(f"u{row}" for row in range(1, ROWS)), "z"], "teacher_label": [*NAMES[1:], "elsewhere"]})
    tables["teacher"] = other.take(np.random.default_rng(0).permutation(ROWS))
    made = job(tables, teacher=labels(dataset=f"{4:032x}"))
    assert made.finding("TEACHER_ROW_MISSING").ids == ("u0",)
    data = made.prepare()
    said = dict(zip(data.unlabeled.ids, spoken(data).argmax(axis=1), strict=True))
    assert said == {f"u{row}": RIGHT[row] for row in range(1, ROWS)}


def test_d3_shuffled_names_warn(job: MakeJob) -> None:
    shuffled = [f"c{label}" for label in np.random.default_rng(3).permutation(RIGHT)]
    made = job(pair(teacher_label=shuffled, truth=NAMES), teacher=LABELS)
    assert made.finding("TEACHER_AT_CHANCE").field == "spec.teacher.column"
    assert "TEACHER_AT_CHANCE" not in job(pair(teacher_label=NAMES, truth=NAMES), teacher=LABELS).codes()


def test_d4_the_order_of_the_classes_does_not_matter_to_names(job: MakeJob) -> None:
    order = ("c2", "c0", "c1")
    data = job(pair(teacher_label=NAMES), teacher=LABELS, class_names=order).prepare()
    assert data.class_names == order
    assert [order[code] for code in spoken(data).argmax(axis=1)] == NAMES


def test_the_column_is_never_an_input(job: MakeJob) -> None:
    data = job(pair(teacher_label=NAMES), teacher=LABELS).prepare()
    assert data.signature.columns == ("x", "y")
    assert "teacher_label" in job(pair(teacher_label=NAMES)).finding("COLUMN_NOT_USED").message


@pytest.mark.skipif("KDAIF_DATA" not in os.environ, reason="KDAIF_DATA names the folder of real data sets")
def test_votes_of_real_rules(job: MakeJob) -> None:
    table = pq.read_table(Path(os.environ["KDAIF_DATA"]) / "youtube_spam_lf" / "youtube_spam_lf.parquet").to_pandas()
    votes = [[None if vote == -1 else int(vote) for vote in row] for row in table["weak_labels"]]
    lengths = np.array([[len(text), text.count("http")] for text in table["text"]], dtype=np.float32)
    lengths += np.random.default_rng(0).normal(scale=1e-3, size=lengths.shape)  # texts of one length are not one row
    known = np.asarray(table["split"] != "train")
    truth = table["label"].astype(int)
    labeled = pa.table({"id": np.flatnonzero(known), "length": lengths[known, 0], "links": lengths[known, 1]})
    labeled = labeled.append_column("label", pa.array(truth[known]))
    rows = np.flatnonzero(~known)
    unlabeled = pa.table({"id": rows, "length": lengths[~known, 0], "links": lengths[~known, 1]})
    unlabeled = unlabeled.append_column("teacher_label", pa.array([votes[row] for row in rows], pa.list_(pa.int8())))
    made = job(
        {"labeled": labeled, "unlabeled": unlabeled.append_column("truth", pa.array(truth[~known]))}, teacher=LABELS
    )
    silent = [row for row in rows if not any(vote is not None for vote in votes[row])]
    assert made.finding("TEACHER_ROW_MISSING").row_count == len(silent) > 0
    data = made.prepare()
    assert len(data.unlabeled) == len(rows) - len(silent)
    assert "TEACHER_AT_CHANCE" not in made.codes()
    assert data.unlabeled.truth is not None
    majority = np.asarray(table["weak_majority"])[np.asarray(data.unlabeled.ids)]
    said = spoken(data)
    clear = ~np.isclose(said[:, 0], said[:, 1])
    assert np.array_equal(said.argmax(axis=1)[clear], majority[clear])
    assert (said.argmax(axis=1) == data.unlabeled.truth)[clear].mean() > 0.85

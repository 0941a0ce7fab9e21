"""The failures of others that this room must not repeat; the names carry the case numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kdaif.datasets import table_file
from kdaif.errors import InvalidInputError
from kdaif.records import Severity
from tests.kdaif.datasets.conftest import MakeJob, column_teacher, numbers, pair

ROWS = 90
RIGHT = np.arange(ROWS) % 3


def logits(classes: np.ndarray[Any, Any] = RIGHT, width: int = 3) -> list[list[float]]:
    rows = np.random.default_rng(5).normal(size=(len(classes), width))
    rows[np.arange(len(classes)), classes] += 6.0
    return rows.tolist()


def test_d2_probabilities_declared_as_logits_are_refused(job: MakeJob) -> None:
    made = job(pair(teacher_logits=[[0.8, 0.1, 0.1]] * ROWS), teacher=column_teacher())
    finding = made.finding("LOGITS_LOOK_LIKE_PROBABILITIES")
    assert finding.severity is Severity.ERROR
    assert finding.field == "spec.teacher.column.outputs"


def test_d2_probabilities_become_logarithms(job: MakeJob) -> None:
    data = job(
        pair(teacher_probabilities=[[0.75, 0.25, 0.0]] * ROWS), teacher=column_teacher("probabilities")
    ).prepare()
    assert data.unlabeled.teacher_logits is not None
    exponent = np.exp(data.unlabeled.teacher_logits)
    assert np.isfinite(data.unlabeled.teacher_logits).all()
    np.testing.assert_allclose(exponent[0], [0.75, 0.25, 0.0], atol=1e-6)


def test_d2_rows_that_are_no_probabilities_are_rejected(job: MakeJob) -> None:
    rows = [[0.5, 0.25, 0.25], [0.5, 0.6, -0.1], [0.5, 0.5, 0.5], *[[0.2, 0.2, 0.6]] * (ROWS - 3)]
    made = job(pair(teacher_probabilities=rows), teacher=column_teacher("probabilities"))
    assert made.finding("TEACHER_ROW_NO_PROBABILITIES").ids == ("u1", "u2")
    assert len(made.prepare().unlabeled) == ROWS - 2
    wrong = job(pair(teacher_probabilities=logits()), teacher=column_teacher("probabilities"))
    assert "logits belong" in wrong.finding("TEACHER_ROW_NO_PROBABILITIES").message
    assert wrong.finding("TOO_MANY_REJECTED").severity is Severity.ERROR


@pytest.mark.parametrize("elsewhere", [False, True])
def test_d3_teacher_rows_are_joined_by_id(job: MakeJob, elsewhere: bool) -> None:
    tables = pair(teacher_logits=logits())
    teacher = column_teacher()
    if elsewhere:
        moved = tables["unlabeled"].select(["id", "teacher_logits"])
        tables["teacher"] = moved.take(np.random.default_rng(0).permutation(ROWS))
        teacher = column_teacher(dataset=f"{4:032x}")
    data = job(tables, teacher=teacher).prepare()
    assert data.unlabeled.teacher_logits is not None
    said = dict(zip(data.unlabeled.ids, data.unlabeled.teacher_logits.argmax(axis=1), strict=True))
    assert said == {f"u{row}": RIGHT[row] for row in range(ROWS)}


def test_d3_ids_without_a_teacher_row_are_rejected(job: MakeJob) -> None:
    tables = pair()
    tables["teacher"] = pa.table(
        {"id": [f"u{row}" for row in range(2, 95)], "teacher_logits": logits(np.zeros(93, int))}
    )
    made = job(tables, teacher=column_teacher(dataset=f"{4:032x}"))
    assert made.finding("TEACHER_ROW_MISSING").ids == ("u0", "u1")
    assert len(made.prepare().unlabeled) == ROWS - 2


@pytest.mark.parametrize("known", ["truth", "label"])
def test_d3_shuffled_teacher_rows_warn(job: MakeJob, known: str) -> None:
    names = [f"c{label}" for label in RIGHT]
    shuffled = np.random.default_rng(3).permutation(RIGHT)
    wrong = job(pair(teacher_logits=logits(shuffled), **{known: names}), teacher=column_teacher())
    assert wrong.finding("TEACHER_AT_CHANCE").severity is Severity.WARNING
    right = job(pair(teacher_logits=logits(), **{known: names}), teacher=column_teacher())
    assert "TEACHER_AT_CHANCE" not in right.codes()


def test_d3_rows_shared_with_the_labelled_set_check_the_teacher(job: MakeJob) -> None:
    labeled = pa.table(numbers(60, seed=1, prefix="l"))
    own = pair()["unlabeled"]
    both = pa.concat_tables([own, labeled.select(own.schema.names)])
    inverted = np.concatenate([RIGHT, (np.arange(60) + 1) % 3])
    both = both.append_column("teacher_logits", pa.array(logits(inverted)))
    made = job({"labeled": labeled, "unlabeled": both}, teacher=column_teacher())
    assert "0.0% of 60" in made.finding("TEACHER_AT_CHANCE").message


def test_d3_other_id_types_are_refused(job: MakeJob) -> None:
    tables = {**pair(), "teacher": pa.table({"id": np.arange(ROWS), "teacher_logits": logits()})}
    finding = job(tables, teacher=column_teacher(dataset=f"{4:032x}")).finding("ID_TYPE")
    assert finding.field == "spec.teacher.column.dataset"


def test_d4_teacher_classes_are_bound_by_name(job: MakeJob) -> None:
    names = ("c2", "c0", "c1")
    columns = np.array(logits())[:, [2, 0, 1]].tolist()
    data = job(pair(teacher_logits=columns), teacher=column_teacher(names=names)).prepare()
    assert data.class_names == ("c0", "c1", "c2")
    assert data.unlabeled.teacher_logits is not None
    assert np.array_equal(data.unlabeled.teacher_logits.argmax(axis=1), RIGHT)
    np.testing.assert_array_equal(data.unlabeled.teacher_logits, np.array(logits(), np.float32))


def test_d4_a_teacher_with_fewer_or_other_classes_is_refused(job: MakeJob) -> None:
    fewer = job(pair(teacher_logits=logits(RIGHT % 2, 2)), teacher=column_teacher(names=("c0", "c1")))
    assert "'c2'" in fewer.finding("TEACHER_LACKS_CLASS").message
    other = job(
        pair(teacher_logits=logits(width=4)),
        teacher=column_teacher(names=("c0", "c1", "c2", "c9")),
        class_names=["c0", "c1", "c2"],
    )
    assert "'c9'" in other.finding("TEACHER_KNOWS_OTHER_CLASS").message


def test_d4_a_wrong_number_of_outputs_is_refused(job: MakeJob) -> None:
    made = job(pair(teacher_logits=logits(width=4)), teacher=column_teacher())
    assert made.finding("WRONG_LENGTH").row_count == ROWS
    assert job(pair(), teacher=column_teacher()).finding("NO_TEACHER_COLUMN").field == "spec.unlabeled"


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([1, 7, 30] * 20, ("1", "7", "30")),
        (["b", "a", "10", "9"] * 15, ("9", "10", "a", "b")),
        ([True, False] * 30, ("false", "true")),
        ([1.0, 0.0, 2.0] * 20, ("0", "1", "2")),
    ],
)
def test_d5_labels_are_mapped_by_name(job: MakeJob, labels: list[Any], names: tuple[str, ...]) -> None:
    tables = pair()
    tables["labeled"] = pa.table(numbers(60, seed=1, labels=labels))
    data = job(tables).prepare()
    assert data.class_names == names
    expected = {f"r{row}": str(label).removesuffix(".0").lower() for row, label in enumerate(labels)}
    assert [data.class_names[code] for code in data.labeled.labels] == [expected[i] for i in data.labeled.ids]


def test_d5_unknown_labels_are_named_with_ids(job: MakeJob) -> None:
    tables = pair()
    tables["validation"] = pa.table(numbers(30, seed=3, labels=["c0", "c1", "zebra"] * 10))
    finding = job(tables).finding("UNKNOWN_LABEL")
    assert finding.field == "spec.validation"
    assert "'zebra'" in finding.message
    assert finding.row_count == 10
    assert finding.ids[:2] == ("r2", "r5")


def test_d6_a_class_without_labelled_rows_goes_on(job: MakeJob) -> None:
    tables = pair(teacher_logits=logits())
    tables["labeled"] = pa.table(numbers(60, seed=1, prefix="l", labels=[0, 1] * 30))
    made = job(tables, teacher=column_teacher(names=("0", "1", "2")))
    assert made.prepare().class_names == ("0", "1", "2")
    assert "0 labeled rows of class '2'" in made.finding("CLASS_WITHOUT_LABELED_ROWS").message
    declared = job(tables, class_names=["0", "1", "2"])
    assert declared.finding("CLASS_WITHOUT_LABELED_ROWS").severity is Severity.WARNING


def test_d12_overlap_of_unlabelled_and_labelled_is_dropped(job: MakeJob) -> None:
    tables = pair()
    shared = tables["labeled"].slice(0, 5).select(tables["unlabeled"].schema.names)
    tables["unlabeled"] = pa.concat_tables([tables["unlabeled"], shared])
    made = job(tables)
    assert made.finding("UNLABELED_ROW_IN_LABELED").row_count == 5
    assert len(made.prepare().unlabeled) == ROWS


def test_d12_unlabelled_equal_to_labelled_is_refused(job: MakeJob) -> None:
    tables = pair()
    tables["unlabeled"] = tables["labeled"].drop_columns(["label"])
    finding = job(tables).finding("NO_ROWS_LEFT")
    assert (finding.severity, finding.field) == (Severity.ERROR, "spec.unlabeled")


@pytest.mark.parametrize("role", ["validation", "test"])
def test_d13_a_row_in_training_and_held_out_is_dropped_from_training(job: MakeJob, role: str) -> None:
    tables = pair()
    held_out = pa.table(numbers(30, seed=3, prefix="h"))
    copied = tables["labeled"].slice(7, 1).set_column(0, "id", pa.array(["copy"]))
    from_unlabeled = tables["unlabeled"].slice(3, 1).append_column("label", pa.array(["c0"]))
    tables[role] = pa.concat_tables([held_out, copied, from_unlabeled])
    made = job(tables)
    found = {f.field: f.ids for f in made.preflight().findings if f.code == "TRAINING_ROW_HELD_OUT"}
    assert found == {"spec.labeled": ("l7",), "spec.unlabeled": ("u3",)}
    data = made.prepare()
    assert "l7" not in {*data.labeled.ids, *data.validation.ids, *data.gate.ids, *data.test.ids}
    assert "u3" not in set(data.unlabeled.ids)


def test_d13_duplicates_inside_the_labelled_set_stay_in_one_part(job: MakeJob) -> None:
    tables = pair()
    again = tables["labeled"].set_column(0, "id", pa.array([f"again{row}" for row in range(60)]))
    tables["labeled"] = pa.concat_tables([tables["labeled"], again])
    data = job(tables).prepare()
    for name in ("labeled", "validation", "gate", "test"):
        ids = set(getattr(data, name).ids)
        assert {f"again{i[1:]}" for i in ids if i.startswith("l")} == {i for i in ids if i.startswith("again")}


def test_d14_minus_one_is_an_ordinary_label(job: MakeJob) -> None:
    tables = pair()
    tables["labeled"] = pa.table(numbers(60, seed=1, labels=[-1, 1, None] * 20))
    made = job(tables)
    assert made.finding("NULL_LABEL").row_count == 20
    data = made.prepare()
    assert data.class_names == ("-1", "1")
    assert len(data.labeled) + len(data.validation) + len(data.gate) + len(data.test) == 40


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (float("nan"), "NON_FINITE_FEATURE"),
        (float("inf"), "NON_FINITE_FEATURE"),
        (1e300, "NON_FINITE_FEATURE"),
        (None, "NULL_FEATURE"),
    ],
)
def test_d15_a_bad_row_is_rejected_alone(job: MakeJob, value: float | None, code: str) -> None:
    x = pair()["unlabeled"]["x"].to_pylist()
    made = job(pair(x=pa.array([x[0], value, *x[2:]], pa.float64())))
    finding = made.finding(code)
    assert (finding.field, finding.row_count, finding.ids) == ("spec.unlabeled", 1, ("u1",))
    clean = job(pair()).prepare().unlabeled
    data = made.prepare().unlabeled
    assert np.array_equal(data.features, np.delete(clean.features, 1, axis=0))


def test_d15_a_bad_teacher_row_is_rejected_alone(job: MakeJob) -> None:
    rows: list[Any] = logits()
    rows[4] = [float("nan"), 0.0, 0.0]
    rows[5] = None
    made = job(pair(teacher_logits=rows), teacher=column_teacher())
    assert made.finding("TEACHER_ROW_NOT_FINITE").ids == ("u4",)
    assert made.finding("TEACHER_ROW_MISSING").ids == ("u5",)
    assert len(made.prepare().unlabeled) == ROWS - 2


def test_d15_over_half_rejected_is_refused(job: MakeJob) -> None:
    made = job(pair(x=[float("nan")] * 46 + [1.0] * 44))
    assert made.finding("TOO_MANY_REJECTED").row_count == 46
    with pytest.raises(InvalidInputError, match="46 of 90"):
        made.prepare()


def test_d20_columns_without_effect_are_reported(job: MakeJob) -> None:
    finding = job(pair(teacher_logits=logits())).finding("COLUMN_NOT_USED")
    assert "teacher_logits" in finding.message


def test_repeats_and_contradictions_are_told(job: MakeJob) -> None:
    tables = pair()
    twins = tables["unlabeled"].slice(0, 2).set_column(0, "id", pa.array(["t0", "t1"]))
    tables["unlabeled"] = pa.concat_tables([tables["unlabeled"], twins])
    other = tables["labeled"].slice(0, 1).set_column(0, "id", pa.array(["other"]))
    tables["labeled"] = pa.concat_tables([tables["labeled"], other.set_column(3, "label", pa.array(["c2"]))])
    made = job(tables)
    assert made.finding("REPEATED_ROWS").ids == ("t0", "t1")
    assert made.finding("CONTRADICTING_LABELS").ids == ("l0", "other")


@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
def test_d19_teacher_rows_are_the_same_however_few_are_checked_at_a_time(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch, outputs: str
) -> None:
    rows: list[Any] = logits() if outputs == "logits" else np.eye(3)[RIGHT].tolist()
    rows[41] = [float("nan"), 0.0, 0.0]
    made = job(pair(**{f"teacher_{outputs}": rows}), teacher=column_teacher(outputs, names=("c2", "c0", "c1")))
    whole = made.prepare()
    monkeypatch.setattr(table_file, "_MOST_BATCH_ROWS", 7)
    chunked = made.prepare()
    assert chunked.report == whole.report
    assert len(chunked.unlabeled) == ROWS - 1
    np.testing.assert_array_equal(chunked.unlabeled.teacher_logits, whole.unlabeled.teacher_logits)

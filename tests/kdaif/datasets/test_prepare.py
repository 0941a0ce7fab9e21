from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kdaif.datasets import InputSignature
from kdaif.datasets.hashing import content_hashes
from kdaif.errors import InvalidInputError
from kdaif.records import Severity
from tests.kdaif.datasets.conftest import MakeJob, numbers, pair

PARTS = ("labeled", "validation", "gate", "unlabeled", "test")


def test_parts_are_stratified_and_disjoint(job: MakeJob) -> None:
    data = job(pair()).prepare()
    assert data.class_names == ("c0", "c1", "c2")
    assert data.signature == InputSignature("numeric", (2,), ("x", "y"))
    assert {name: len(getattr(data, name)) for name in PARTS} == {
        "labeled": 30, "validation": 15, "gate": 3, "test": 12, "unlabeled": 90,
    }  # fmt: skip
    for name in ("labeled", "validation", "gate", "test"):
        counts = np.bincount(getattr(data, name).labels)
        assert counts.min() == counts.max()
    hashes = np.concatenate([content_hashes(getattr(data, name).features) for name in PARTS])
    assert len(np.unique(hashes)) == len(hashes)
    assert data.labeled.features.dtype == np.float32
    assert data.unlabeled.labels.size == 0
    assert not data.test_is_given
    assert data.unlabeled.truth is None
    assert data.unlabeled.teacher_logits is None


def test_split_depends_on_content_and_seed_not_on_row_order(job: MakeJob) -> None:
    tables = pair()
    shuffled = {**tables, "labeled": tables["labeled"].take(np.random.default_rng(0).permutation(60))}
    first = set(job(tables).prepare().test.ids)
    assert set(job(shuffled).prepare().test.ids) == first
    assert set(job(tables, training={"seed": 1}).prepare().test.ids) != first


def test_given_validation_and_test_are_used(job: MakeJob) -> None:
    tables = pair()
    tables["validation"] = pa.table(numbers(30, seed=3, prefix="v"))
    tables["test"] = pa.table(numbers(30, seed=4, prefix="t"))
    data = job(tables).prepare()
    assert len(data.labeled) == 60
    assert (len(data.validation), len(data.gate)) == (24, 6)
    assert set(data.test.ids) == {f"t{row}" for row in range(30)}
    assert data.test_is_given


def test_the_external_set_is_apart_from_all_others(job: MakeJob) -> None:
    tables = pair()
    own = numbers(30, seed=5, prefix="e")
    assert job(tables).prepare().external is None
    tables["test"] = pa.table(numbers(30, seed=4, prefix="t"))
    tables["validation"] = pa.table(numbers(30, seed=3, prefix="v"))
    # Two rows each of test, validation, labelled and unlabelled come again in the external set.
    twins = {"test": 0, "validation": 2, "labeled": 4, "unlabeled": 6}
    for role, place in twins.items():
        for column in ("x", "y"):
            own[column][place : place + 2] = tables[role][column].to_numpy()[:2]
    tables["external"] = pa.table(own)
    made = job(tables)
    data = made.prepare()
    assert data.external is not None
    assert set(data.external.ids) == {f"e{row}" for row in range(2, 30)}
    assert len(data.test) == 30
    assert len(data.labeled) == 58
    assert len(data.unlabeled) == 88
    assert made.finding("EXTERNAL_ROW_IN_TEST").ids == ("e0", "e1")
    assert made.finding("VALIDATION_ROW_IN_EXTERNAL").ids == ("v0", "v1")
    parts = [*(getattr(data, name) for name in PARTS), data.external]
    hashes = np.concatenate([content_hashes(part.features) for part in parts])
    assert len(np.unique(hashes)) == len(hashes)


def test_an_external_set_without_labels_is_refused(job: MakeJob) -> None:
    made = job({**pair(), "external": pa.table(numbers(30, seed=5, prefix="e", labels=None))})
    assert made.finding("NO_LABEL").field == "spec.external"


def test_columns_are_matched_by_name(job: MakeJob) -> None:
    tables = pair(extra=np.arange(90))
    tables["unlabeled"] = tables["unlabeled"].select(["y", "extra", "id", "x"])
    made = job(tables)
    data = made.prepare()
    x = tables["unlabeled"]["x"].to_numpy().astype(np.float32)
    assert np.array_equal(data.unlabeled.features[:, 0], x)
    assert "'extra'" in made.finding("EXTRA_COLUMNS").message


def test_images(job: MakeJob) -> None:
    def images(rows: int, seed: int, shape: tuple[int, ...], **columns: Any) -> pa.Table:
        pixels = np.random.default_rng(seed).integers(0, 256, (rows, *shape), dtype=np.uint8)
        tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)
        return pa.table({"id": np.arange(rows), "image": tensors, **columns})

    labels = ["a", "b"] * 20
    data = job({"labeled": images(40, 0, (5, 4), label=labels), "unlabeled": images(9, 1, (5, 4))}).prepare()
    assert data.signature == InputSignature("image", (5, 4, 1), ("image",))
    assert data.unlabeled.features.shape == (9, 5, 4, 1)
    assert data.unlabeled.features.dtype == np.uint8
    assert np.asarray(data.unlabeled.ids).dtype == np.int64
    colour = job(
        {"labeled": images(40, 0, (5, 4, 3), label=labels), "unlabeled": images(9, 1, (5, 4, 3))},
        student={"kind": "cnn"},
    )
    assert colour.prepare().signature.shape == (5, 4, 3)
    first = np.random.default_rng(1).integers(0, 256, (9, 5, 4, 3), dtype=np.uint8)
    assert np.array_equal(colour.prepare().unlabeled.features, first)
    other = job({"labeled": images(40, 0, (5, 4), label=labels), "unlabeled": images(9, 1, (4, 5))})
    assert "(4, 5, 1)" in other.finding("OTHER_SHAPE").message
    planes_first = job({"labeled": images(40, 0, (3, 32, 32), label=labels), "unlabeled": images(9, 1, (3, 32, 32))})
    assert "channels come last" in next(iter(planes_first.preflight().errors)).message


def test_a_null_image_is_rejected_alone(job: MakeJob) -> None:
    pixels = np.arange(40 * 6, dtype=np.uint8).reshape(40, 6)
    stored = [None if row == 7 else pixels[row].tolist() for row in range(40)]
    tensors = pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.uint8(), (2, 3)), pa.array(stored, pa.list_(pa.uint8(), 6))
    )
    labeled = pa.table({"id": np.arange(40), "image": tensors, "label": ["a", "b"] * 20})
    unlabeled = pa.table(
        {"id": [0], "image": pa.FixedShapeTensorArray.from_numpy_ndarray(np.full((1, 2, 3), 255, np.uint8))}
    )
    made = job({"labeled": labeled, "unlabeled": unlabeled})
    assert made.finding("NULL_FEATURE").ids == ("7",)
    data = made.prepare()
    ids = np.asarray(data.labeled.ids)
    row = int(np.flatnonzero(ids > 7)[0])
    assert np.array_equal(data.labeled.features[row].reshape(-1), pixels[ids[row]])


def test_untyped_images_are_refused_with_the_fix(job: MakeJob) -> None:
    bytes_ = pa.array([[1, 2, 3, 4]] * 60, pa.list_(pa.uint8(), 4))
    tables = pair()
    tables["labeled"] = pa.table({"id": np.arange(60), "image": bytes_, "label": ["a", "b"] * 30})
    assert "fixed_shape_tensor of uint8 with shape (H, W)" in job(tables).finding("IMAGE_TYPE").message


@pytest.mark.parametrize("type_", [pa.list_(pa.float32()), pa.list_(pa.float64(), 3), pa.large_list(pa.float32())])
def test_feature_lists(job: MakeJob, type_: pa.DataType) -> None:
    values = np.random.default_rng(0).normal(size=(70, 3))
    column = pa.array(values.tolist(), type_)
    labeled = pa.table({"id": np.arange(60), "features": column[:60], "label": ["a", "b"] * 30})
    unlabeled = pa.table({"id": np.arange(10), "features": column[60:]})
    data = job({"labeled": labeled, "unlabeled": unlabeled}).prepare()
    assert data.signature == InputSignature("numeric", (3,), ("features",))
    assert np.array_equal(data.unlabeled.features, values[60:].astype(np.float32))


def test_feature_lists_of_another_length_are_refused(job: MakeJob) -> None:
    labeled = pa.table(
        {"id": np.arange(60), "features": [[1.0, float(i)] for i in range(60)], "label": ["a", "b"] * 30}
    )
    unlabeled = pa.table({"id": np.arange(3), "features": [[1.0, 100.0], [2.0], [1.0, 3.0]]})
    finding = job({"labeled": labeled, "unlabeled": unlabeled}).finding("WRONG_LENGTH")
    assert (finding.field, finding.ids) == ("spec.unlabeled", ("1",))


def test_pandas_categoricals_index_and_missing_labels(job: MakeJob) -> None:
    frame = pd.DataFrame(numbers(60, seed=1))
    frame["label"] = pd.Categorical(frame["label"])
    frame["group_site"] = pd.Categorical(["north", "south"] * 30)
    frame.index = pd.Index(np.random.default_rng(0).permutation(60))
    tables = {**pair(), "labeled": pa.Table.from_pandas(frame)}
    made = job(tables)
    data = made.prepare()
    assert data.signature.columns == ("x", "y")
    assert made.finding("INDEX_COLUMN_IGNORED").severity is Severity.INFO
    by_id = dict(zip(frame["id"], frame["group_site"], strict=True))
    assert [by_id[i] for i in data.labeled.ids] == list(data.labeled.groups["group_site"])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"id": ["same"] * 90}, "DUPLICATE_ID"),
        ({"id": [None, *range(89)]}, "NULL_ID"),
        ({"id": np.linspace(0, 1, 90)}, "ID_TYPE"),
        ({"id": ["x" * 513, *map(str, range(89))]}, "LONG_ID"),
        ({"id": ["x" * 10_000 + str(row) for row in range(90)]}, "LONG_ID"),
        ({"note": [[1, 2]] * 90}, "UNSUPPORTED_COLUMN"),
        ({"features": [[1.0, 2.0]] * 90}, "MIXED_FEATURES"),
        ({"x": [None] * 90}, "UNSUPPORTED_COLUMN"),
        ({"group_when": pa.array([0] * 90, pa.timestamp("s"))}, "LABEL_TYPE"),
    ],
)
def test_unusable_columns_are_refused_by_name(job: MakeJob, change: dict[str, Any], code: str) -> None:
    made = job(pair(**change))
    finding = made.finding(code)
    assert finding.severity is Severity.ERROR
    assert finding.field == "spec.unlabeled"
    with pytest.raises(InvalidInputError) as caught:
        made.prepare()
    assert "spec.unlabeled" in {violation.field for violation in caught.value.violations}


def test_missing_columns_and_ids(job: MakeJob) -> None:
    tables = pair()
    tables["unlabeled"] = tables["unlabeled"].drop_columns(["y"])
    assert "'y'" in job(tables).finding("MISSING_COLUMNS").message
    assert job({**pair(), "unlabeled": pair()["unlabeled"].drop_columns(["id"])}).finding("NO_ID")
    assert job({**pair(), "labeled": pair()["labeled"].drop_columns(["label"])}).finding("NO_LABEL")
    assert job({**pair(), "unlabeled": pair()["unlabeled"].slice(0, 0)}).finding("NO_ROWS")


def test_a_label_by_another_name_is_guessed_and_not_missed_in_the_pool(job: MakeJob) -> None:
    labeled = pair()["labeled"]
    renamed = labeled.rename_columns(["kind" if name == "label" else name for name in labeled.column_names])
    assert (
        "perhaps 'kind', which the unlabelled set lacks"
        in job({**pair(), "labeled": renamed}).finding("NO_LABEL").message
    )


def test_too_wide_is_refused(job: MakeJob) -> None:
    wide = pa.array(np.zeros((4, 10_001), np.float32).tolist(), pa.list_(pa.float32(), 10_001))
    labeled = pa.table({"id": range(4), "features": wide, "label": list("abab")})
    assert job({**pair(), "labeled": labeled}).finding("TOO_WIDE").field == "spec.labeled"


def test_one_class_is_refused(job: MakeJob) -> None:
    tables = pair()
    tables["labeled"] = pa.table(numbers(60, seed=1, labels=["only"] * 60))
    assert job(tables).finding("TOO_FEW_CLASSES").severity is Severity.ERROR


def test_too_few_rows_for_all_parts_are_an_error_not_a_crash(job: MakeJob) -> None:
    tables = pair()
    tables["labeled"] = pa.table(numbers(2, seed=1, classes=2))
    assert {finding.field for finding in job(tables).preflight().errors} == {
        "spec.validation", "spec.test", "spec.splits.gate_share",
    }  # fmt: skip


def test_a_cnn_on_numbers_and_an_oracle_without_truth_are_refused(job: MakeJob) -> None:
    assert job(pair(), student={"kind": "cnn"}).finding("WRONG_ARCHITECTURE").field == "spec.student"
    assert job(pair(), control_arms=["oracle"]).finding("ORACLE_WITHOUT_TRUTH").field == "spec.control_arms"
    job(pair(truth=["c0"] * 90), control_arms=["oracle"]).prepare()


@pytest.mark.parametrize(
    ("chosen", "field"),
    [
        ({"student": {"kind": "bag"}}, "spec.student"),
        (
            {
                "student": {
                    "kind": "layers",
                    "layers": [{"kind": "linear", "width": 4}, {"kind": "conv", "channels": 2}],
                }
            },
            "spec.student.layers.layers[1]",
        ),
        (
            {"teacher": {"source": {"kind": "train", "architecture": {"kind": "resnet"}}}},
            "spec.teacher.train.architecture",
        ),
    ],
)
def test_a_network_that_is_not_for_numbers_is_refused_where_it_stands(
    job: MakeJob, chosen: dict[str, Any], field: str
) -> None:
    assert job(pair(), **chosen).finding("WRONG_ARCHITECTURE").field == field


def test_numbers_cannot_be_augmented(job: MakeJob) -> None:
    assert job(pair(), training={"augment": True}).finding("AUGMENT_NUMBERS").field == "spec.training.augment"


@pytest.mark.parametrize(("setting", "value"), [("loss", "dkd"), ("standardise_logits", True)])
def test_settings_that_need_three_classes_are_refused_for_two(job: MakeJob, setting: str, value: Any) -> None:
    tables = pair()
    job(tables, training={setting: value}).prepare()
    tables["labeled"] = pa.table(numbers(60, seed=1, prefix="l", classes=2))
    assert job(tables, training={setting: value}).finding("TOO_FEW_CLASSES").field == f"spec.training.{setting}"


def test_truth_is_kept_for_audit_only(job: MakeJob) -> None:
    truth = ["c1", None, "c9", *["c0"] * 87]
    made = job(pair(truth=truth))
    data = made.prepare()
    assert data.unlabeled.truth is not None
    assert data.unlabeled.truth[:4].tolist() == [1, -1, -1, 0]
    assert made.finding("UNKNOWN_TRUTH").ids == ("u2",)
    assert data.unlabeled.labels.size == 0


def test_preflight_and_prepare_say_the_same(job: MakeJob) -> None:
    made = job(pair(x=[float("nan"), *range(89)]))
    assert made.prepare().report == made.preflight()


def test_unreadable_file_is_a_finding(job: MakeJob) -> None:
    made = job(pair())
    whole = made.files["unlabeled"].read_bytes()
    made.files["unlabeled"].write_bytes(whole[: len(whole) // 2])
    assert made.finding("UNREADABLE_FILE").field == "spec.unlabeled"


def test_hashes_of_many_rows_are_distinct() -> None:
    assert len(np.unique(content_hashes(np.arange(200_000 * 16, dtype=np.float32).reshape(-1, 16)))) == 200_000

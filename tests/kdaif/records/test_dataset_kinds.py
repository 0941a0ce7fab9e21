"""What the data set of each role must be, and where it stands in the request."""

from __future__ import annotations

from kdaif.records import DatasetKind, DistillationSpec

A, B, C, D = (f"{number:032x}" for number in range(4))


def test_every_role_has_a_kind_and_a_field() -> None:
    members = [
        {"kind": "train"},
        {"kind": "onnx", "model": C, "outputs": "logits", "class_names": ("a", "b")},
        {"kind": "transformer", "model": D},
        {"kind": "column", "dataset": B, "outputs": "label"},
        {"kind": "column", "outputs": "label"},
    ]
    spec = DistillationSpec.model_validate(
        {
            "labeled": A,
            "unlabeled": B,
            "initial_weights": C,
            "teacher": {"source": {"kind": "ensemble", "members": members}},
        }
    )
    ensemble = "spec.teacher.ensemble.members"
    assert spec.dataset_kinds() == {
        "labeled": (DatasetKind.TABLE, "spec.labeled"),
        "unlabeled": (DatasetKind.TABLE, "spec.unlabeled"),
        "initial_weights": (DatasetKind.SAFETENSORS, "spec.initial_weights"),
        "teacher_1": (DatasetKind.ONNX, f"{ensemble}[1].onnx.model"),
        "teacher_2": (DatasetKind.TRANSFORMER, f"{ensemble}[2].transformer.model"),
        "teacher_3": (DatasetKind.TABLE, f"{ensemble}[3].column.dataset"),
    }
    assert spec.dataset_kinds().keys() == spec.dataset_ids().keys()


def test_a_single_teacher() -> None:
    source = {"kind": "column", "dataset": C, "outputs": "label"}
    spec = DistillationSpec.model_validate({"labeled": A, "unlabeled": B, "teacher": {"source": source}})
    assert spec.dataset_kinds()["teacher"] == (DatasetKind.TABLE, "spec.teacher.column.dataset")

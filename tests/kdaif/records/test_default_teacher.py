"""Who teaches where no network is named, and that one which is named is never another."""

from __future__ import annotations

import pytest

from kdaif.records import Architecture, Bag, InputKind, Mlp, Resnet, TrainedTeacher, teacher_network_of


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("numeric", Mlp(hidden_sizes=(256, 128))),
        ("image", Resnet()),
        ("text", Bag(embedding_size=128, hidden_sizes=(256,))),
    ],
)
def test_the_teacher_is_made_for_its_rows(kind: InputKind, wanted: Architecture) -> None:
    assert teacher_network_of(TrainedTeacher(), kind) == wanted
    kept = TrainedTeacher.model_validate_json(TrainedTeacher().model_dump_json())  # as a queue keeps it
    assert teacher_network_of(kept, kind) == wanted
    named = Mlp(hidden_sizes=(256, 128))
    assert teacher_network_of(TrainedTeacher(architecture=named), kind) == named

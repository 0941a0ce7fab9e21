from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from kdaif_worker import targets as module
from kdaif_worker.messages import Assignment

from kdaif.datasets import DistillationData
from kdaif.records import DistillationSpec
from kdaif.store import BlobStore
from kdaif.teachers import SoftTargets

LOGITS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "said",
    [
        SoftTargets(LOGITS, None, None, None),
        SoftTargets(LOGITS, LOGITS[:2], np.array([True, False, True, False, False]), 12, external_logits=LOGITS[:1]),
    ],
)
def test_a_later_attempt_gets_what_the_teacher_said_first(
    said: SoftTargets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    asked: list[int] = []

    def teacher(*_: object) -> SoftTargets:
        asked.append(1)
        return said

    monkeypatch.setattr(module.teachers, "soft_targets", teacher)  # a real teacher's tests are in its room
    data = DistillationData.__new__(DistillationData)
    for attempt in (1, 2, 3):
        spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32)
        assignment = Assignment("default", "j1", attempt, "", spec, "", tmp_path, None)
        got = module.soft_targets(assignment, data, torch.device("cpu"), blobs)
        for field in fields(SoftTargets):
            np.testing.assert_array_equal(getattr(got, field.name), getattr(said, field.name))
    assert asked == [1]

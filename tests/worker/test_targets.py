from pathlib import Path

import numpy as np
import pytest
import torch
from kdaif_worker import targets as module
from kdaif_worker.messages import Assignment

from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.records import ColumnTeacher, DistillationSpec, Mlp, PlantedNoise, PreflightReport, Teacher, TrainedTeacher
from kdaif.store import BlobStore

CLASSES = ("a", "b", "c")
COLUMN = ColumnTeacher(outputs="logits", class_names=CLASSES)
TRAINED = TrainedTeacher(architecture=Mlp(hidden_sizes=(8,)), epochs=3)


def data() -> DistillationData:
    rng = np.random.default_rng(0)

    def rows(n: int, first: int, **more: np.ndarray) -> Rows:
        ids = np.arange(first, first + n)
        return Rows(ids, rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n), **more)

    logits = rng.normal(size=(20, 3)).astype(np.float32)
    parts = {"labeled": rows(30, 0), "validation": rows(9, 100), "gate": rows(9, 200), "test": rows(9, 300)}
    signature = InputSignature("numeric", (4,), ("w", "x", "y", "z"))
    return DistillationData(
        CLASSES,
        signature,
        **parts,
        unlabeled=rows(20, 400, teacher_logits=logits),
        report=PreflightReport(),
        test_is_given=True,
    )


@pytest.mark.parametrize("source", [COLUMN, TRAINED])
def test_a_later_attempt_gets_what_the_teacher_said_first(
    source: ColumnTeacher | TrainedTeacher, tmp_path: Path
) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    noise = PlantedNoise(kind="class_swap", share=0.5)

    def attempt(number: int, seed: int) -> tuple[module.SoftTargets, module.TeacherCost | None]:
        # Another seed would give another teacher and other noise: only what was kept can be equal.
        spec = DistillationSpec(
            labeled="a" * 32,
            unlabeled="b" * 32,
            teacher=Teacher(source=source, planted_noise=noise),
            training={"seed": seed},
        )
        assignment = Assignment("default", "j1", number, "", spec, "", tmp_path, None)
        return module.soft_targets(assignment, data(), torch.device("cpu"), blobs)

    (first, first_cost), (again, again_cost) = attempt(1, seed=0), attempt(3, seed=1)
    np.testing.assert_array_equal(again.logits, first.logits)
    np.testing.assert_array_equal(again.planted, first.planted)
    assert again_cost == first_cost
    if source is TRAINED:
        np.testing.assert_array_equal(again.test_logits, first.test_logits)
        assert first_cost is not None
        assert first_cost.size_kb > 0
        assert first_cost.ms_per_row > 0
    else:
        assert (again.test_logits, first_cost) == (None, None)

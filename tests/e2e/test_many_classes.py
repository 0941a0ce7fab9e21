"""A job of 400 classes in a real stack: its worker is killed once, and the student tells the classes apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kdaif_client import Client, ColumnTeacher, Mlp, Training

from tests.e2e.conftest import Stack

_C = 400
_NAMES = tuple(f"c{code:03}" for code in range(_C))
_CENTRES = 4 * np.random.default_rng(0).normal(size=(_C, 8))


def _rows(n_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    codes = generator.permutation(np.arange(n_rows) % _C)
    return (_CENTRES[codes] + generator.normal(size=(n_rows, 8))).astype(np.float32), codes


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_student_of_many_classes(own_stack: Stack, tmp_path: Path) -> None:
    features, codes = _rows(2400, 1)
    pool, said = _rows(1600, 2)
    wrong = np.arange(len(said)) % 5 == 0
    logits = np.random.default_rng(3).normal(size=(len(said), _C)).astype(np.float32)
    logits[np.arange(len(said)), np.where(wrong, (said + 7) % _C, said)] += 9
    with Client(own_stack.target) as client:
        labeled = client.upload_dataset(
            {"id": np.arange(len(codes)), "features": features, "label": [_NAMES[code] for code in codes]}, name="l"
        )
        unlabeled = client.upload_dataset(
            {"id": 10_000 + np.arange(len(said)), "features": pool, "teacher_logits": logits}, name="u"
        )
        job = client.submit(
            labeled,
            unlabeled,
            teacher=ColumnTeacher("logits", _NAMES),
            student=Mlp((64,)),
            training=Training(rounds=4, epochs_per_round=4, seeds=1, learning_rate=0.01),
        )
        next(event for event in job.watch() if event.kind == "round")
        own_stack.training_child().kill()
        job.wait(timeout_s=300)
        assert job.info.attempt == 2
        weights = list(job.weights(limit=len(said)))
        assert {weight.pseudo_label for weight in weights} <= set(_NAMES)
        student = job.download_student(tmp_path / "student")
        assert list(student.class_names) == list(_NAMES)
        fresh, truth = _rows(800, 4)
        right = float(np.mean(student.predict(fresh) == np.array(_NAMES)[truth]))
        assert right > 0.3

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdaif.datasets import InputSignature
from kdaif.errors import NonFiniteError
from kdaif.evaluation import predict
from kdaif.records import Cnn, Mlp
from kdaif.students import build_student

CPU = torch.device("cpu")
NUMERIC = InputSignature("numeric", (4,), ("a", "b", "c", "d"))


def test_predicts_all_rows_in_eval_mode_and_leaves_the_student_alone() -> None:
    rows = np.random.default_rng(0).normal(size=(9000, 4)).astype(np.float32)
    rows.flags.writeable = False
    student = build_student(Mlp(hidden_sizes=(8,), dropout=0.5), NUMERIC, 3, rows, seed=0).train()

    logits = predict(student, rows, CPU)

    assert (logits.shape, logits.dtype) == ((9000, 3), np.float32)
    assert student.training
    with torch.no_grad():
        expected = student.eval()(torch.from_numpy(rows.copy())).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-6)


def test_predicts_images_from_a_strided_view() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    student = build_student(
        Cnn(channels=(4,), hidden_size=8), InputSignature("image", (8, 8, 3), ("image",)), 5, images, 0
    )

    np.testing.assert_allclose(predict(student, images[::-2], CPU), predict(student, images, CPU)[::-2], atol=1e-5)


def test_no_rows_give_no_logits_of_the_right_width() -> None:
    rows = np.zeros((0, 4), np.float32)
    student = build_student(Mlp(), NUMERIC, 3, np.ones((2, 4), np.float32), seed=0)

    assert predict(student, rows, CPU).shape == (0, 3)


def test_non_finite_logits_are_an_error_that_names_the_rows() -> None:
    rows = np.ones((5, 4), np.float32)
    student = build_student(Mlp(hidden_sizes=(8,)), NUMERIC, 3, rows, seed=0)
    rows[3] = np.inf

    with pytest.raises(NonFiniteError, match=r"1 of 5 rows.*\[3\]"):
        predict(student, rows, CPU)

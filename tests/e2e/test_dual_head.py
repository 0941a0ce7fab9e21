"""A job whose student has two heads while it trains, through a real stack: what comes out has the one that predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from kdaif_client import Client, Mlp, TrainedTeacher, Training, Weighting
from kdaif_client.errors import InvalidArgument

from tests.e2e.conftest import running_stack
from tests.e2e.digits import upload_digits

_TEACHER = TrainedTeacher(Mlp((32,)), epochs=5)
_TRAINING = Training(rounds=2, epochs_per_round=1, seeds=1, dual_head=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_job_with_two_heads_gives_a_student_with_one(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack, Client(stack.target) as client:
        digits, student = upload_digits(client), Mlp(hidden_sizes=(16,))
        roles = digits.roles()
        with pytest.raises(InvalidArgument, match=r"set weighting\.solver to 'cg' or 'ekfac'"):
            client.submit(**roles, teacher=_TEACHER, student=student, training=_TRAINING)
        job = client.submit(
            **roles, teacher=_TEACHER, student=student, training=_TRAINING, weighting=Weighting(solver="cg", blocks=4)
        )
        job.wait(timeout_s=200)
        bundle = job.download_student(tmp_path / "student")
        weights = list(job.weights(order_by="weight", limit=500))
        most_harmful = max(weights, key=lambda each: each.val_loss_change_if_upweighted)
        told = str(job.explain(most_harmful.id))
        of_arms = {arm.arm: arm.accuracy for arm in job.result.arms}
    assert "its soft target had a head of its own (training.dual_head)" in told
    assert "The teacher's own confidence" in told
    shapes = [tuple(each.dims) for each in onnx.load(tmp_path / "student" / "model.onnx").graph.initializer]
    assert len([shape for shape in shapes if sorted(shape) == [10, 16]]) == 1
    right = np.mean(bundle.predict(digits.test_images) == digits.test_labels.astype(str))
    assert right == pytest.approx(of_arms[job.result.shipped_arm])
    assert len({each.weight for each in weights}) > 1

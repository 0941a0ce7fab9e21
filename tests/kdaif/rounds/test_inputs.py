"""Arms over tables with categories and nulls, over text, and with every kind of network over pictures."""

from typing import Any

import numpy as np
import pytest

from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.records import PreflightReport
from kdaif.records.spec import Solver
from kdaif.rounds import student_of
from tests.kdaif.inputs import ARCHITECTURES, rows_of

from .test_train_arm import run, spec


def part(signature: InputSignature, n: int, seed: int, *, unlabeled: bool = False) -> Rows:
    """Rows whose class shows in one column, one corner or one word."""
    generator = np.random.default_rng(seed)
    labels, features = generator.integers(0, 3, n), rows_of(signature, n, seed)
    if signature.kind == "image":
        features[:, :4, :4] = (80 * labels)[:, None, None, None]
    elif signature.kind == "text":
        features[np.arange(n), generator.integers(0, 3, n)] = 2 + labels
    elif signature.categories:
        features[:, 1] = labels  # of which 0 is an unknown value
    else:
        features[:, 0] += 30 * labels
    ids = np.arange(seed * 1000, seed * 1000 + n)
    return Rows(ids, features, labels[:0] if unlabeled else labels, truth=labels if unlabeled else None)


def data(signature: InputSignature) -> DistillationData:
    return DistillationData(
        class_names=("x", "y", "z"),
        signature=signature,
        labeled=part(signature, 40, 1),
        validation=part(signature, 40, 2),
        gate=part(signature, 10, 3),
        unlabeled=part(signature, 150, 4, unlabeled=True),
        test=part(signature, 20, 5),
        report=PreflightReport(),
        test_is_given=True,
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_head_solver_weighs_with_every_network(name: str) -> None:
    network, signature = ARCHITECTURES[name]
    given, chosen = data(signature), spec(network)
    outcomes = run("influence", given, chosen)
    last = outcomes[1]
    assert last.metrics["solves_stopped"] == 0
    assert 0 <= last.metrics["residual"] < 1
    weights = next(outcome.weights.table() for outcome in outcomes if outcome.weights is not None)
    assert np.ptp(weights["weight"].to_numpy()) > 0.1
    assert outcomes[-1].metrics["train_loss"] < outcomes[0].metrics["train_loss"]
    assert student_of(outcomes[-1].state, chosen, given).signature is signature


@pytest.mark.parametrize("solver", ["cg", "ekfac"])
@pytest.mark.parametrize("name", ["mlp-table", "bag-hidden", "text-encoder", "resnet", "mobilenet", "layers-image"])
def test_the_other_solvers_do_too(name: str, solver: Solver) -> None:
    network, signature = ARCHITECTURES[name]
    last = run("influence", data(signature), spec(network, solver=solver, blocks=4, curvature_rows=64))[1]
    assert last.metrics["solves_stopped"] == 0
    assert np.isfinite(last.metrics["residual"])


def test_a_moving_average_of_a_text_student() -> None:
    network, signature = ARCHITECTURES["bag"]
    chosen: Any = spec(network)
    chosen = chosen.model_copy(update={"training": chosen.training.model_copy(update={"ema_decay": 0.5})})
    given = data(signature)
    outcomes = run("uniform", given, chosen)
    assert "average/module.body.0.pieces.weight" in outcomes[-1].state.tensors
    assert student_of(outcomes[-1].state, chosen, given).signature is signature

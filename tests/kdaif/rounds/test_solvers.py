import pytest

from kdaif.records.architectures import Architecture, Cnn, Mlp
from kdaif.records.spec import Solver

from .test_train_arm import data, run, spec


@pytest.mark.parametrize("solver", ["cg", "ekfac", "head"])
@pytest.mark.parametrize("student", [Mlp(hidden_sizes=(16,)), Cnn(channels=(4,), hidden_size=8)], ids=["mlp", "cnn"])
def test_every_solver_carries_an_arm_and_reports_its_residual(solver: Solver, student: Architecture) -> None:
    # The second round's: the first was scored by the scout.
    last = run("influence", data(150, image=True), spec(student, solver=solver, blocks=8))[1]
    assert last.metrics["wrong_row_auroc"] > 0.7
    assert last.metrics["residual"] > 0
    assert last.metrics["solver_steps"] == (3 if solver == "cg" else 0)
    assert last.metrics["solves_stopped"] == 0

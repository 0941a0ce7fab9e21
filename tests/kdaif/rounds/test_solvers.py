from typing import Any

import pytest
from pydantic import ValidationError

from kdaif.records.architectures import Architecture, Cnn, Mlp
from kdaif.records.spec import Solver, Weighting

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


def test_a_preconditioned_arm_solves_more_exactly_in_as_many_steps() -> None:
    given, student = data(150, image=True), Mlp(hidden_sizes=(16,))
    options = {"solver": "cg", "blocks": 8, "damping": 0.01}
    plain, better, best = (
        run("influence", given, spec(student, **options, **more))[0].metrics
        for more in ({}, {"preconditioner_rows": 100}, {"preconditioner_rows": 100, "preconditioner_steps": 5})
    )
    assert best["solver_steps"] == better["solver_steps"] == plain["solver_steps"] == 3
    assert best["residual"] < better["residual"] < plain["residual"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"solver": "head", "preconditioner_rows": 50}, "for the solver cg"),
        ({"solver": "cg", "preconditioner_rows": 300}, "of the 256 curvature_rows"),
        ({"solver": "cg", "preconditioner_steps": 3}, "set both"),
    ],
)
def test_a_preconditioner_that_could_not_be_made_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Weighting(**options)

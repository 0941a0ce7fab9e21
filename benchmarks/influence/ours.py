"""kdaif's own solvers, called as a round calls them."""

from __future__ import annotations

import torch
from torch.nn import functional

from benchmarks.influence.clock import Method, Scores
from benchmarks.influence.work import Work
from kdaif.influence import Curvature, influence_scores
from kdaif.records.spec import Solver

_EKFAC_ROWS, _PRECONDITIONER_ROWS = 250, 200
_FEW_ROWS, _STEPS_ON_THEM = 300, 5
_FEWEST_ROWS = 150


def _cg(work: Work, steps: int) -> Scores:
    return _scores(work, "cg", steps)


def _preconditioned_cg(work: Work, steps: int) -> Scores:
    return _scores(work, "cg", steps, preconditioner_rows=_PRECONDITIONER_ROWS)


def _two_level_cg(work: Work, steps: int) -> Scores:
    return _scores(work, "cg", steps, preconditioner_rows=_FEW_ROWS, preconditioner_steps=_STEPS_ON_THEM)


def _cg_on_few(work: Work, steps: int) -> Scores:
    return _scores(work, "cg", steps, rows=_FEWEST_ROWS)


def _ekfac(work: Work, _: int) -> Scores:
    return _scores(work, "ekfac", 0, rows=_EKFAC_ROWS)


def _head(work: Work, _: int) -> Scores:
    return _scores(work, "head", 0)


def curvature(work: Work, rows: int | None = None) -> Curvature:
    """The mean Gauss-Newton matrix of the training rows, or of the first so many."""
    features = work.features[:rows]
    weights = torch.full((len(features),), 1 / len(features), dtype=next(work.model.parameters()).dtype)
    return Curvature(work.model, features, weights, torch.ones_like(weights))


def _scores(
    work: Work,
    solver: Solver,
    steps: int,
    *,
    rows: int | None = None,
    preconditioner_rows: int = 0,
    preconditioner_steps: int = 0,
) -> Scores:
    found = influence_scores(
        work.model,
        curvature(work, rows),
        work.features,
        # A hard label: the loss of a row is then its cross-entropy.
        functional.one_hot(work.labels, 10).to(work.features.dtype).log(),
        work.validation_features,
        work.validation_labels,
        temperature=1.0,
        blocks=1,
        steps=steps,
        solver=solver,
        damping=work.damping,
        tolerance=1e-6,
        preconditioner_rows=preconditioner_rows,
        preconditioner_steps=preconditioner_steps,
    )
    return found.influence.astype("float32")


METHODS: dict[str, Method] = {
    "cg": _cg,
    "cg_on_few": _cg_on_few,
    "preconditioned_cg": _preconditioned_cg,
    "two_level_cg": _two_level_cg,
    "ekfac": _ekfac,
    "head": _head,
}

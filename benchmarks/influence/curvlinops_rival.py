"""curvlinops has the matrices and their inverses; the gradient on V and the scores are put together by hand."""

from __future__ import annotations

import torch
from curvlinops import CGInverseLinearOperator, EKFACLinearOperator, GGNLinearOperator, KFACInverseLinearOperator
from curvlinops.examples import IdentityLinearOperator
from torch import nn

from benchmarks.influence.by_hand import batches, changes_along, validation_gradient
from benchmarks.influence.clock import Method, Scores
from benchmarks.influence.work import Work


def _cg(work: Work, steps: int) -> Scores:
    parameters = list(work.model.parameters())
    matrix = GGNLinearOperator(work.model, nn.CrossEntropyLoss(), parameters, batches(work), check_deterministic=False)
    identity = IdentityLinearOperator([tuple(p.shape) for p in parameters], torch.device("cpu"), torch.float32)
    inverse = CGInverseLinearOperator(
        matrix + work.damping * identity, max_iter=steps, max_tridiag_iter=0, tolerance=1e-6, eps=0.0
    )
    return changes_along(work, inverse @ validation_gradient(work)).numpy()


def _ekfac(work: Work, _: int) -> Scores:
    matrix = EKFACLinearOperator(
        work.model,
        nn.CrossEntropyLoss(),
        list(work.model.parameters()),
        batches(work),
        check_deterministic=False,
        fisher_type="type-2",
        separate_weight_and_bias=False,
    )
    inverse = KFACInverseLinearOperator(matrix, damping=work.damping, use_exact_damping=True)
    return changes_along(work, inverse @ validation_gradient(work)).numpy()


METHODS: dict[str, Method] = {"cg": _cg, "ekfac": _ekfac}

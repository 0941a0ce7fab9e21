"""pyDVL. Its "Gauss-Newton" is the empirical Fisher, so conjugate gradient and Nystroem get its default Hessian."""

from __future__ import annotations

import torch
from pydvl.influence.torch import CgInfluence, EkfacInfluence, NystroemSketchInfluence
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.influence.by_hand import ROWS_PER_BATCH, batches, validation_gradient
from benchmarks.influence.clock import Method, Scores
from benchmarks.influence.work import Work

_RANK = 100


def _loader(work: Work) -> DataLoader[tuple[torch.Tensor, ...]]:
    return DataLoader(TensorDataset(work.features, work.labels), batch_size=ROWS_PER_BATCH)


def _gradient(work: Work) -> torch.Tensor:
    """Of the mean over V, `[1, P]`: one right-hand side instead of 500."""
    return torch.cat([part.flatten() for part in validation_gradient(work)])[None]


def _cg(work: Work, steps: int) -> Scores:
    fitted = CgInfluence(
        work.model,
        nn.CrossEntropyLoss(),
        regularization=work.damping,
        rtol=1e-6,
        maxiter=steps,
        warn_on_max_iteration=False,
    ).fit(_loader(work))
    return _scores(work, fitted)


def _nystroem(work: Work, _: int) -> Scores:
    fitted = NystroemSketchInfluence(work.model, nn.CrossEntropyLoss(), regularization=work.damping, rank=_RANK).fit(
        _loader(work)
    )
    return _scores(work, fitted)


def _scores(work: Work, fitted: CgInfluence | NystroemSketchInfluence) -> Scores:
    (block,) = fitted.block_mapper.composable_block_dict.values()
    solved = block.op.apply(_gradient(work))
    found = [fitted.influences_from_factors(solved, *batch)[0] for batch in batches(work)]
    return -torch.cat(found).detach().numpy()


def _ekfac(work: Work, _: int) -> Scores:
    if any(isinstance(layer, nn.Conv2d) for layer in work.model):
        raise SystemExit("pyDVL's EK-FAC takes Linear layers only")
    fitted = EkfacInfluence(work.model, update_diagonal=True, hessian_regularization=work.damping).fit(_loader(work))
    solved = fitted._solve_hvp(_gradient(work))
    found = [fitted.influences_from_factors(solved, *batch)[0] for batch in batches(work)]
    return -torch.cat(found).detach().numpy()


METHODS: dict[str, Method] = {"cg": _cg, "ekfac": _ekfac, "nystroem": _nystroem}

"""dattri's conjugate gradient, on the Hessian of the training loss, or on that of the linearised network's."""

from __future__ import annotations

import torch
from dattri.algorithm.influence_function import IFAttributorCG
from dattri.task import AttributionTask
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.influence.by_hand import Linearised
from benchmarks.influence.clock import Method, Scores
from benchmarks.influence.work import Work


def _hessian_cg(work: Work, steps: int) -> Scores:
    return _cg(work, work.model, steps)


def _linearised_cg(work: Work, steps: int) -> Scores:
    return _cg(work, Linearised(work.model), steps)


def _cg(work: Work, model: nn.Module, steps: int) -> Scores:
    def loss(parameters: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        features, labels = data
        # One row of the training set comes without its batch axis.
        features = features.reshape(-1, *work.features.shape[1:])
        logits = torch.func.functional_call(model, parameters, (features,))
        return functional.cross_entropy(logits, labels.reshape(-1))

    task = AttributionTask(loss_func=loss, model=model, checkpoints=[model.state_dict()])
    attributor = IFAttributorCG(task, max_iter=steps, regularization=work.damping)
    rows = TensorDataset(work.features, work.labels)
    # One batch, since it solves for each batch that it keeps, and again for each that it attributes to.
    whole = DataLoader(rows, batch_size=len(rows))
    attributor.cache(whole)
    # All of V as one sample, whose loss is the mean: one right-hand side instead of 500.
    held_out = TensorDataset(work.validation_features[None], work.validation_labels[None])
    with torch.no_grad():
        pairs = attributor.attribute(whole, DataLoader(held_out, batch_size=1))
    found: Scores = (-pairs[:, 0]).numpy()
    return found


METHODS: dict[str, Method] = {"cg": _hessian_cg, "linearised_cg": _linearised_cg}

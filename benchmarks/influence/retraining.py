"""Linear datamodeling score (Park et al. 2023) of the MLP: do summed influences rank the losses of true retraining?"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch.nn import functional

from benchmarks.influence.work import EPOCHS, Work, network, train

_SUBSETS = 50


def subsets(n: int) -> list[NDArray[np.int64]]:
    """Random halves of the training rows."""
    return [np.random.default_rng((5, at)).permutation(n)[: n // 2] for at in range(_SUBSETS)]


def losses_after_retraining(work: Work) -> NDArray[np.float64]:
    """The mean validation cross-entropy of the MLP trained on each half, as it was on all, `[50]`."""
    losses = []
    for rows in subsets(len(work.labels)):
        torch.manual_seed(0)
        model = network("mlp")
        train(model, work.features[rows], work.labels[rows], EPOCHS)
        with torch.no_grad():
            losses.append(float(functional.cross_entropy(model(work.validation_features), work.validation_labels)))
    return np.array(losses)


def datamodeling_score(influence: NDArray[np.floating], losses: NDArray[np.float64]) -> float:
    """Spearman correlation over the halves of the summed influence and the loss; its standard error is about .13."""
    sums = [influence[rows].sum() for rows in subsets(len(influence))]
    return float(spearmanr(sums, losses).statistic)

"""Does influence say what truly happens? Leave-one-out retraining and the exact inverse; see `datamodeling` too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.quality.conditions import CONDITIONS, corrupted_targets, default_spec
from benchmarks.quality.datamodeling import linear_datamodeling_scores
from benchmarks.quality.sets.pictures import digits
from kdaif.distillation import distillation_loss, log_probabilities
from kdaif.influence import curvature_at, influence_scores
from kdaif.linalg import logits_of, parameter_vector
from kdaif.records.spec import DistillationSpec

_PENALTY = 0.02


def agreement_with_truth() -> dict[str, float]:
    """The figures loo_pearson_logreg, exact_spearman_mlp, lds, and lds_default for the weighting's cheap settings."""
    lds = linear_datamodeling_scores()
    return {
        "loo_pearson_logreg": _leave_one_out(),
        "exact_spearman_mlp": _exact_inverse(),
        "lds": lds["audit"],
        "lds_default": lds["default"],
    }


@dataclass(frozen=True, eq=False)
class _Convex:
    """Digits in 12 dimensions and float64, small enough to be trained to the minimum again and again."""

    labeled: Tensor
    labels: Tensor
    unlabeled: Tensor
    log_targets: Tensor
    validation: Tensor
    validation_labels: Tensor
    spec: DistillationSpec

    def minimised(self, network: nn.Module, weights: Tensor) -> nn.Module:
        """At the minimum of J with divisor N plus _PENALTY/2 |theta|^2, by L-BFGS."""
        optimizer = torch.optim.LBFGS(
            network.parameters(),
            max_iter=500,
            tolerance_grad=1e-10,
            tolerance_change=1e-15,
            line_search_fn="strong_wolfe",
        )
        training = self.spec.training

        def closure() -> float:
            optimizer.zero_grad()
            soft = distillation_loss(network(self.unlabeled), self.log_targets, training.temperature)
            hard = functional.cross_entropy(network(self.labeled), self.labels)
            size = torch.stack([parameter.square().sum() for parameter in network.parameters()]).sum()
            loss = training.hard_label_weight * hard
            loss = loss + training.soft_label_weight * (weights * soft).sum() / len(weights) + _PENALTY / 2 * size
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss.detach())

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        return network.eval()

    def influence(self, network: nn.Module, *, damping: float, steps: int) -> NDArray[np.float64]:
        """By conjugate gradient on all rows."""
        weights = torch.ones(len(self.unlabeled), dtype=torch.float64)
        training = self.spec.training
        curvature = curvature_at(network, self.labeled, self.unlabeled, weights, training=training, rows=10_000, seed=0)
        return influence_scores(
            network,
            curvature,
            self.unlabeled,
            self.log_targets,
            self.validation,
            self.validation_labels,
            temperature=training.temperature,
            blocks=4,
            steps=steps,
            damping=damping,
            tolerance=1e-9,
        ).influence

    def validation_loss(self, network: nn.Module) -> float:
        with torch.no_grad():
            return float(functional.cross_entropy(network(self.validation), self.validation_labels))


def _convex(unlabeled: int) -> _Convex:
    data = digits(0)
    spec = default_spec(data, 0)
    targets = corrupted_targets(spec, data, CONDITIONS["symmetric .2"])
    flat = data.unlabeled.features.reshape(len(data.unlabeled), -1).astype(np.float64)
    directions = PCA(12, whiten=True, random_state=0).fit(flat)

    def reduced(features: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(directions.transform(features.reshape(len(features), -1).astype(np.float64)))

    return _Convex(
        labeled=reduced(data.labeled.features),
        labels=torch.from_numpy(data.labeled.labels),
        unlabeled=reduced(data.unlabeled.features[:unlabeled]),
        log_targets=log_probabilities(torch.from_numpy(targets.logits[:unlabeled]).double(), spec.training.temperature),
        validation=reduced(data.validation.features),
        validation_labels=torch.from_numpy(data.validation.labels),
        spec=spec,
    )


def _network(hidden: int | None) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if hidden is None:
            return nn.Linear(12, 10).double()
        return nn.Sequential(nn.Linear(12, hidden), nn.Tanh(), nn.Linear(hidden, 10)).double()


def _leave_one_out() -> float:
    """Pearson correlation with the true change of the validation loss when a row is left out, logistic regression."""
    given, n = _convex(150), 150
    full = given.minimised(_network(None), torch.ones(n, dtype=torch.float64))
    start, loss = full.state_dict(), given.validation_loss(full)
    changes = []
    for row in range(n):
        weights = torch.ones(n, dtype=torch.float64)
        weights[row] = 0.0
        without = _network(None)
        without.load_state_dict(start)
        changes.append(given.validation_loss(given.minimised(without, weights)) - loss)
    return float(pearsonr(-given.influence(full, damping=_PENALTY, steps=100), changes).statistic)


def _exact_inverse() -> float:
    """Spearman correlation of ten steps of conjugate gradient with the dense damped inverse, one hidden layer of 8."""
    given, n = _convex(300), 300
    training = given.spec.training
    network = given.minimised(_network(8), torch.ones(n, dtype=torch.float64))
    theta = parameter_vector(network)
    rows = torch.cat([given.labeled, given.unlabeled])
    n_labeled = len(given.labels)
    temperatures = torch.cat([torch.ones(n_labeled), torch.full((n,), training.temperature)]).double()[:, None]
    scale = torch.cat(
        [
            torch.full((n_labeled,), training.hard_label_weight / n_labeled, dtype=torch.float64),
            torch.full((n,), training.soft_label_weight / n, dtype=torch.float64),
        ]
    )
    jacobian = torch.func.jacrev(logits_of(network, rows))(theta)
    p = (network(rows).detach() / temperatures).softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    matrix = torch.einsum("m,mcp,mcd,mdq->pq", scale, jacobian, middle, jacobian)
    matrix += _PENALTY * torch.eye(len(theta), dtype=torch.float64)
    of_validation = logits_of(network, given.validation)
    gradient = torch.func.grad(lambda at: functional.cross_entropy(of_validation(at), given.validation_labels))(theta)
    change = jacobian[n_labeled:] @ torch.linalg.solve(matrix, gradient)
    soft = (network(given.unlabeled).detach() / training.temperature).softmax(1)
    exact = -(training.temperature * (soft - given.log_targets.exp()) * change).sum(1).numpy()
    return float(spearmanr(given.influence(network, damping=_PENALTY, steps=10), exact).statistic)

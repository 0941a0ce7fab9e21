"""kronfluence's EK-FAC with its defaults, the damping given, and the gradients of V summed before the solve.

Also with its factors fitted to as few rows as ours, which says how much of a ratio is the number of rows.
"""

from __future__ import annotations

import copy
import logging
import tempfile

import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from benchmarks.influence.by_hand import ROWS_PER_BATCH
from benchmarks.influence.clock import Method, Scores
from benchmarks.influence.work import Work


class _Classification(Task):  # type: ignore[misc]
    """As in its examples: the true Fisher by one label per row, drawn from the model's output."""

    def compute_train_loss(self, batch: tuple[Tensor, Tensor], model: nn.Module, sample: bool = False) -> Tensor:
        features, labels = batch
        logits = model(features)
        if sample:
            with torch.no_grad():
                labels = torch.multinomial(torch.softmax(logits.detach(), dim=-1), num_samples=1).flatten()
        return functional.cross_entropy(logits, labels, reduction="sum")

    def compute_measurement(self, batch: tuple[Tensor, Tensor], model: nn.Module) -> Tensor:
        features, labels = batch
        return functional.cross_entropy(model(features), labels, reduction="sum")


_FEW_ROWS = 250  # those of `kdaif/ekfac`


def _ekfac(work: Work, _: int) -> Scores:
    return _scores(work, len(work.features))


def _ekfac_on_few(work: Work, _: int) -> Scores:
    return _scores(work, _FEW_ROWS)


def _scores(work: Work, fitted_rows: int) -> Scores:
    task = _Classification()
    rows = TensorDataset(work.features, work.labels)
    fitted = TensorDataset(work.features[:fitted_rows], work.labels[:fitted_rows])
    held_out = TensorDataset(work.validation_features, work.validation_labels)
    with tempfile.TemporaryDirectory() as folder:
        analyzer = Analyzer(
            "bench",
            prepare_model(copy.deepcopy(work.model), task),
            task,
            cpu=True,
            log_level=logging.ERROR,
            disable_tqdm=True,
            output_dir=folder,
        )
        analyzer.fit_all_factors(
            "factors", fitted, per_device_batch_size=ROWS_PER_BATCH, factor_args=FactorArguments(strategy="ekfac")
        )
        analyzer.compute_pairwise_scores(
            "scores",
            "factors",
            held_out,
            rows,
            per_device_query_batch_size=len(held_out),
            per_device_train_batch_size=ROWS_PER_BATCH,
            score_args=ScoreArguments(damping_factor=work.damping, aggregate_query_gradients=True),
        )
        scores = analyzer.load_pairwise_scores("scores")
    found: Scores = (-scores["all_modules"][0]).numpy()
    return found


METHODS: dict[str, Method] = {"ekfac": _ekfac, "ekfac_on_few": _ekfac_on_few}

"""One arm on one job: train, predict the test rows, measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from benchmarks.quality import gradient_rivals, influence_rivals, rivals
from benchmarks.quality.loop import Rival, train_rival
from benchmarks.quality.measures import of_predictions, of_weights
from kdaif.datasets import DistillationData, Rows
from kdaif.evaluation import predict
from kdaif.influence import rank_correlation
from kdaif.records.spec import DistillationSpec
from kdaif.rounds import RoundOutcome, student_of, train_arm
from kdaif.teachers import SoftTargets

DEFAULT, UNIFORM, ORACLE, SUPERVISED = "influence", "uniform", "oracle", "supervised"
# Not a rival: it spends the held-out labels on training, and then has none left to be judged or stopped by.
MORE_LABELS = "uniform, V and G trained on"
# The default with one of its two signals taken away.
AGREEMENT, INFLUENCE = "agreement alone", "influence alone"
PARTS: Mapping[str, Literal["agreement", "influence"]] = {AGREEMENT: "agreement", INFLUENCE: "influence"}
# Not a way of training: the default twice more, to see whether another order and start give the same weights.
STABILITY = "other training seeds"
PRODUCT_ARMS = (SUPERVISED, UNIFORM, DEFAULT, ORACLE)
RIVALS: Mapping[str, Rival] = {
    "confidence threshold": Rival(rivals.confidence_threshold, "once"),
    "SoftMatch": Rival(rivals.soft_match, "often"),
    "FreeMatch": Rival(rivals.free_match, "often"),
    "small loss": Rival(rivals.small_loss, "often"),
    "GCE": Rival(rivals.generalised_cross_entropy, "often"),
    "Meta-Weight-Net": Rival(gradient_rivals.meta_weight_net, "often"),
    "learning to reweight": Rival(gradient_rivals.learning_to_reweight, "often"),
    "cleanlab filter": Rival(rivals.cleanlab_filter, "once"),
    "notebook exp(+I)": Rival(influence_rivals.notebook_up, "after_round"),
    "notebook exp(-I)": Rival(influence_rivals.notebook_down, "after_round"),
    "shuffled weights": Rival(influence_rivals.shuffled, "after_round"),
}
ARMS = (*PRODUCT_ARMS, *RIVALS, *PARTS, MORE_LABELS)
_CPU = torch.device("cpu")


def run_arm(
    arm: str, spec: DistillationSpec, data: DistillationData, targets: SoftTargets, seed: int
) -> dict[str, Any]:
    """Measures of one arm; for the default also its rounds' diagnostics and seconds."""
    if arm in RIVALS:
        trained = train_rival(RIVALS[arm], spec, data, targets, seed)
        measured: dict[str, Any] = of_predictions(predict(trained.student, data.test.features, _CPU), data)
        measured |= of_weights(trained.weights, _wrong(data, targets))
        return measured | {"train_seconds": trained.train_seconds, "weighing_seconds": trained.weighing_seconds}
    if arm == MORE_LABELS:
        more = _joined(_joined(data.labeled, data.validation), data.gate)
        return _run_product_arm(UNIFORM, spec, replace(data, labeled=more), targets, seed)
    if arm == STABILITY:
        return _stability(spec, data, targets, seed)
    if arm in PARTS:
        weighting = spec.weighting.model_copy(update={"signals": PARTS[arm]})
        return _run_product_arm(DEFAULT, spec.model_copy(update={"weighting": weighting}), data, targets, seed)
    return _run_product_arm(arm, spec, data, targets, seed)


def _run_product_arm(
    arm: str, spec: DistillationSpec, data: DistillationData, targets: SoftTargets, seed: int
) -> dict[str, Any]:
    outcomes = list(train_arm(arm, spec, data, targets, seed=seed, device=_CPU))
    student = student_of(outcomes[-1].state, spec, data)
    measured: dict[str, Any] = of_predictions(predict(student, data.test.features, _CPU), data)
    measured["train_seconds"] = sum(outcome.metrics["train_seconds"] for outcome in outcomes)
    if arm != DEFAULT:
        return measured
    table = _last_table(outcomes)
    place = {identifier: at for at, identifier in enumerate(table["id"].to_pylist())}
    order = np.array([place[identifier] for identifier in data.unlabeled.ids.tolist()])
    weights = table["weight"].to_numpy()[order].astype(np.float64)
    log_odds = table["log_odds"].to_numpy()[order].astype(np.float64)
    wrong = _wrong(data, targets)
    measured |= of_weights(weights, wrong)
    measured["log_odds_auroc"] = of_weights(log_odds, wrong).get("auroc")
    measured |= _clean_weight_by_class(weights, wrong, data)
    measured["weighing_seconds"] = sum(outcome.metrics.get("influence_seconds", 0.0) for outcome in outcomes)
    measured["rounds"] = [outcome.metrics for outcome in outcomes]
    return measured


def _stability(spec: DistillationSpec, data: DistillationData, targets: SoftTargets, seed: int) -> dict[str, Any]:
    """Rank correlation of the last weights of two arms that differ in their training seed alone."""
    seeds = (seed + 100, seed + 200)
    outcomes = [list(train_arm(DEFAULT, spec, data, targets, seed=other, device=_CPU)) for other in seeds]
    first, second = (_last_table(of_seed)["weight"].to_numpy() for of_seed in outcomes)
    student = student_of(outcomes[0][-1].state, spec, data)
    measured: dict[str, Any] = of_predictions(predict(student, data.test.features, _CPU), data)
    return measured | {"stability": rank_correlation(first, second)}


def _last_table(outcomes: Sequence[RoundOutcome]) -> pa.Table:
    return [outcome.weights for outcome in outcomes if outcome.weights is not None][-1].table()


def _wrong(data: DistillationData, targets: SoftTargets) -> NDArray[np.bool_]:
    return np.asarray(targets.logits[:].argmax(axis=1) != data.unlabeled.truth)


def _clean_weight_by_class(
    weights: NDArray[np.float64], wrong: NDArray[np.bool_], data: DistillationData
) -> dict[str, list[float | None]]:
    """Mean weight of each class's rows whose pseudo-label is right; None for a class without such rows."""
    truth = data.unlabeled.truth
    means = [weights[(truth == code) & ~wrong] for code in range(len(data.class_names))]
    return {"clean_weight_by_class": [float(of_class.mean()) if len(of_class) else None for of_class in means]}


def _joined(first: Rows, second: Rows) -> Rows:
    return Rows(
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.features, second.features]),
        np.concatenate([first.labels, second.labels]),
    )

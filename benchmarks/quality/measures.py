"""What is measured of one trained student."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from kdaif.datasets import DistillationData
from kdaif.weighting import effective_sample_size

_FEWEST_OF_GROUP = 30
_BINS = 15


def of_predictions(logits: NDArray[np.float32], data: DistillationData) -> dict[str, float]:
    """Accuracy, macro F1, worst class, worst group and calibration on the test rows."""
    labels, said = data.test.labels, logits.argmax(axis=1)
    right = said == labels
    measures = {
        "accuracy": float(right.mean()),
        "macro_f1": float(f1_score(labels, said, average="macro", zero_division=0)),
        "worst_class": min(float(right[labels == code].mean()) for code in np.unique(labels)),
        "ece": expected_calibration_error(logits, labels),
    }
    groups = [right[rows] for rows in _groups(data.test.groups)]
    if groups:
        measures["worst_group"] = min(float(of_group.mean()) for of_group in groups)
    return measures


def of_weights(weights: NDArray[np.float64], wrong: NDArray[np.bool_], prefix: str = "") -> dict[str, float]:
    """How well low weights find wrong pseudo-labels, and how many rows the weights are worth (share of N)."""
    measures = {f"{prefix}ess": effective_sample_size(weights) / len(weights)}
    if 0 < wrong.sum() < len(wrong):
        measures[f"{prefix}auroc"] = float(roc_auc_score(wrong, -weights))
        measures[f"{prefix}auprc"] = float(average_precision_score(wrong, -weights))
    return {name: value for name, value in measures.items() if math.isfinite(value)}


def expected_calibration_error(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins, weighted by rows (Guo et al. 2017)."""
    wide = logits.astype(np.float64)
    p = np.exp(wide - wide.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gaps = [
        abs(float(confidence[bins == at].mean() - right[bins == at].mean())) * float((bins == at).mean())
        for at in np.unique(bins)
    ]
    return float(sum(gaps))


def _groups(columns: Mapping[str, NDArray[Any]]) -> list[NDArray[np.int64]]:
    groups = []
    for column in columns.values():
        for name in sorted(set(column)):
            rows = np.flatnonzero(column == name)
            if len(rows) >= _FEWEST_OF_GROUP:
                groups.append(rows)
    return groups

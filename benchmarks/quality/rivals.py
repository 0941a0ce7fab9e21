"""Rivals that judge a row by confidence or by its loss."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.quality.loop import Job, Moment, Weigh

_THRESHOLD = 0.95
_MOMENTUM = 0.99
_GCE_EXPONENT = 0.7
_SMALL_LOSS_RAMP_EPOCHS = 10
_FOLDS = 5


def uniform(job: Job) -> Weigh:
    """Every row alike; proves that this loop is the product's."""
    return lambda moment: np.ones(len(job.rows.ids))


def confidence_threshold(job: Job) -> Weigh:
    """Keeps rows on which the teacher is surer than .95 (FixMatch's threshold, Sohn et al. 2020)."""
    temperature = job.spec.training.temperature
    at_one = (job.rows.teacher_log_targets[:] * temperature).softmax(dim=1).double().numpy()
    kept = (at_one.max(axis=1) >= _THRESHOLD).astype(np.float64)
    return lambda moment: kept


def soft_match(job: Job) -> Weigh:
    """SoftMatch (Chen et al. 2023): a truncated Gaussian of confidence, its mean and variance by moving average.

    There the pseudo-labels are the student's own; here they are the teacher's, and the student's probability of the
    pseudo-label takes the part of confidence.
    """
    n_classes = job.rows.teacher_log_targets.shape[1]
    memory = {"mean": 1 / n_classes, "variance": 1.0}

    def weigh(moment: Moment) -> NDArray[np.float64]:
        p = moment.belief()
        momentum = _over_a_piece(job)
        memory["mean"] = momentum * memory["mean"] + (1 - momentum) * float(p.mean())
        memory["variance"] = momentum * memory["variance"] + (1 - momentum) * float(p.var())
        below = np.minimum(p - memory["mean"], 0.0)
        return np.asarray(np.exp(-(below**2) / (2 * memory["variance"] / 4)))  # n_sigma = 2, as published

    return weigh


def free_match(job: Job) -> Weigh:
    """FreeMatch (Wang et al. 2023): a threshold at the mean confidence, lower for classes less believed in."""
    n_classes = job.rows.teacher_log_targets.shape[1]
    memory = {"threshold": np.full(1, 1 / n_classes), "classes": np.full(n_classes, 1 / n_classes)}

    def weigh(moment: Moment) -> NDArray[np.float64]:
        p, momentum = moment.belief(), _over_a_piece(job)
        of_classes = moment.log_student.exp().double().mean(dim=0).numpy()
        memory["threshold"] = momentum * memory["threshold"] + (1 - momentum) * p.mean()
        memory["classes"] = momentum * memory["classes"] + (1 - momentum) * of_classes
        local = memory["classes"] / memory["classes"].max() * memory["threshold"]
        return np.asarray(p >= local[job.rows.pseudo_labels], dtype=np.float64)

    return weigh


def small_loss(job: Job) -> Weigh:
    """Keeps the rows of smallest loss (Co-teaching's rule, Han et al. 2018), told the true share of wrong rows.

    No real job could tell it that share. The share dropped grows over the first ten epochs.
    """
    share = float(job.rows.wrong.mean()) if job.rows.wrong is not None else 0.0

    def weigh(moment: Moment) -> NDArray[np.float64]:
        losses = moment.losses.double().numpy()
        dropped = share * min(1.0, moment.epoch / _SMALL_LOSS_RAMP_EPOCHS)
        return np.asarray(losses <= np.quantile(losses, 1 - dropped), dtype=np.float64)

    return weigh


def generalised_cross_entropy(job: Job) -> Weigh:
    """GCE (Zhang and Sabuncu 2018): its gradient is that of cross-entropy times p(pseudo-label)^q, q = .7."""
    return lambda moment: np.maximum(moment.belief() ** _GCE_EXPONENT, 1e-6)


def cleanlab_filter(job: Job) -> Weigh:
    """Confident learning (Northcutt et al. 2021) by the cleanlab library: rows it calls label issues are dropped.

    It reads probabilities of a logistic regression on L and U, cross-validated over five folds.
    """
    from cleanlab.filter import find_label_issues

    rows = job.rows
    n_labeled = len(rows.labeled.labels)
    features = np.concatenate([rows.labeled.features.numpy(), rows.features.numpy()])
    flat = features.reshape(len(features), -1).astype(np.float64)
    given = np.concatenate([rows.labeled.labels.numpy(), rows.pseudo_labels])
    present, codes = np.unique(given, return_inverse=True)
    probabilities = np.full((len(given), len(present)), 1e-6)
    for train, held_out in KFold(_FOLDS, shuffle=True, random_state=job.seed).split(flat):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a fit stopped at 200 steps ranks as well as a converged one
            model.fit(flat[train], codes[train])
        probabilities[np.ix_(held_out, model.classes_)] = model.predict_proba(flat[held_out])
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    issues = find_label_issues(codes, probabilities, n_jobs=1)
    kept = 1.0 - np.asarray(issues, dtype=np.float64)[n_labeled:]
    return lambda moment: kept


def _over_a_piece(job: Job) -> float:
    """A momentum of .99 a step over the steps between two calls; the published .999 is for far longer training."""
    steps = len(job.rows.ids) / job.spec.training.batch_size / 4
    return float(_MOMENTUM ** max(steps, 1.0))

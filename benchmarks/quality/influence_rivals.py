"""Rivals made of our own influence: KD-AIF's notebook rule with either sign, and our weights dealt out at random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.loop import Job, Moment, Weigh
from kdaif.influence import per_unit_of_weight
from kdaif.rounds.beliefs import present_beliefs
from kdaif.rounds.reweighting import Weighting, reweigh, score_rows

_CLIP = 4.0


def notebook_up(job: Job) -> Weigh:
    """exp(+influence): the notebook's formula with our sign, so that harmful rows gain weight."""
    return _exponential(job, 1.0)


def notebook_down(job: Job) -> Weigh:
    """exp(-influence): the same formula with the sign put right."""
    return _exponential(job, -1.0)


def shuffled(job: Job) -> Weigh:
    """Weights made as the default makes them, each given to a random row: the same spread, without the knowledge."""
    current = _at_start(job)
    generator = np.random.default_rng((job.seed, 14))

    def weigh(moment: Moment) -> NDArray[np.float64]:
        beliefs = present_beliefs(moment.student, job.rows)
        reweighted = reweigh(moment.student, job.rows, current, beliefs, job.spec, job.seed)
        return generator.permutation(reweighted.weighting.weights)

    return weigh


def _exponential(job: Job, sign: float) -> Weigh:
    current = _at_start(job)

    def weigh(moment: Moment) -> NDArray[np.float64]:
        scores = score_rows(moment.student, job.rows, current, job.spec, job.seed)
        influence = per_unit_of_weight(scores.influence, current.weights, job.spec.training.soft_label_weight)
        spread = float(influence.std()) or 1.0
        return np.asarray(np.exp(sign * np.clip(influence / spread, -_CLIP, _CLIP)))

    return weigh


def _at_start(job: Job) -> Weighting:
    return Weighting(np.ones(len(job.rows.ids)), job.rows.teacher_log_targets)

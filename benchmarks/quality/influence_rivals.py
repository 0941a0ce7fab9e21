"""Rivals made of our own influence: KD-AIF's notebook rule with either sign, and our weights dealt out at random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.loop import Job, Moment, Weigh
from kdaif.rounds.reweighting import Reweighted, Weighting, reweigh

_CLIP = 4.0


def notebook_up(job: Job) -> Weigh:
    """exp(+influence): the notebook's formula with our sign, so that harmful rows gain weight."""
    return _exponential(job, 1.0)


def notebook_down(job: Job) -> Weigh:
    """exp(-influence): the same formula with the sign put right."""
    return _exponential(job, -1.0)


def shuffled(job: Job) -> Weigh:
    """The default's weights, each given to a random row: the same spread, without the knowledge."""
    memory = [_at_start(job)]
    generator = np.random.default_rng((job.seed, 14))

    def weigh(moment: Moment) -> NDArray[np.float64]:
        memory[0] = _reweighed(moment, memory[0]).weighting
        return generator.permutation(memory[0].weights)

    return weigh


def _exponential(job: Job, sign: float) -> Weigh:
    memory = [_at_start(job)]

    def weigh(moment: Moment) -> NDArray[np.float64]:
        reweighted = _reweighed(moment, memory[0])
        memory[0] = reweighted.weighting
        influence = reweighted.influence
        spread = float(influence.std()) or 1.0
        return np.asarray(np.exp(sign * np.clip(influence / spread, -_CLIP, _CLIP)))

    return weigh


def _reweighed(moment: Moment, current: Weighting) -> Reweighted:
    job = moment.job
    return reweigh(moment.student, job.rows, current, job.spec, job.seed, agreement=moment.agreement)


def _at_start(job: Job) -> Weighting:
    return Weighting(np.ones(len(job.rows.ids)), job.rows.teacher_log_targets)

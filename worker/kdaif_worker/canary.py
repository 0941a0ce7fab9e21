"""The canary check: an arm on the side, trained before all others, shows whether weights find wrong labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch

from kdaif.datasets import DistillationData
from kdaif.evaluation import canary_sentence
from kdaif.records import CanaryCheck, DistillationSpec, Progress
from kdaif.rounds import FEWEST_PER_KIND, PoolScoring, judge_canaries, plant_canaries, side_arm_spec, train_arm
from kdaif.scratch import Scratch
from kdaif.teachers import SoftTargets
from kdaif_worker.attempt_files import AttemptFiles
from kdaif_worker.checkpoint import Checkpoint
from kdaif_worker.messages import Assignment, ProgressMessage

_STAGE = "canary"


def shipped_arm(spec: DistillationSpec, check: CanaryCheck | None) -> str:
    """The arm whose student is shipped: the uniform one where the weights are not asked for, or failed the check."""
    if spec.weighting.method != "influence" or (check is not None and check.failed):
        return "uniform"
    return "influence"


def told(check: CanaryCheck | None, data: DistillationData) -> str:
    """The check in one sentence; nothing where it was not asked for."""
    overrides = data.unlabeled.weight_override
    overridden = 0 if overrides is None else int((~np.isnan(overrides)).sum())
    return "" if check is None else canary_sentence(check, overridden=overridden)


def checked(
    assignment: Assignment,
    data: DistillationData,
    targets: SoftTargets,
    device: torch.device,
    files: AttemptFiles,
    emit: Callable[[ProgressMessage], None],
    point: Checkpoint,
    *,
    fraction: float,
    scratch: Scratch | None = None,
    initial_weights: Mapping[str, torch.Tensor] | None = None,
    scoring: PoolScoring | None = None,
    sharded: bool = False,
) -> Checkpoint:
    """The checkpoint with the check's outcome, going on from where a former attempt left it.

    The check comes before every arm, so a state in a checkpoint without an outcome is the side arm's.

    Args:
        assignment: of the attempt.
        data: of the job.
        targets: of its U.
        device: where to train.
        files: take the checkpoints.
        emit: takes the progress.
        point: the furthest checkpoint.
        fraction: of the job that is done before the check.
        scratch: where the rows are, and U with its canaries goes.
        initial_weights: that the side arm starts from, as every arm.
        scoring: of U, as in every arm.
        sharded: its student is cut over processes, as every arm's.
    """
    spec = assignment.spec
    if spec.weighting.method != "influence" or spec.weighting.canary_bar == 0 or point.canary is not None:
        return point
    bar, seed = spec.weighting.canary_bar, spec.training.seed
    canaries, side_spec = plant_canaries(data, targets, seed, scratch), side_arm_spec(spec)
    flipped, kept = canaries.counts()
    skipped = ""
    if side_spec is None:
        skipped = f"no weights are made within {spec.training.rounds} round(s)"
    elif not canaries.enough:
        skipped = (
            f"there are rows for {flipped} wrong and {kept} right canaries, and {FEWEST_PER_KIND} of each are needed; "
            "give more labelled or validation rows"
        )
    if side_spec is None or skipped:
        check = CanaryCheck(bar=bar, flipped=flipped, kept=kept, skipped=skipped)
        emit(ProgressMessage(Progress(_STAGE, fraction, message=told(check, data))))
        return dataclasses.replace(point, canary=check)
    rounds = side_spec.training.rounds
    side_arm = train_arm(
        "influence",
        side_spec,
        canaries.data,
        canaries.targets,
        seed=seed,
        device=device,
        scratch=scratch,
        resume=point.current,
        initial_weights=initial_weights,
        scoring=scoring,
        sharded=sharded,
    )
    for outcome in side_arm:
        point = dataclasses.replace(point, step=point.step + 1, current=outcome.state)
        metrics: dict[str, float] = {}
        message = f"{flipped} labels planted wrong, {kept} right"
        if outcome.last:
            check = judge_canaries(canaries, outcome.state, bar)
            point = dataclasses.replace(point, current=None, canary=check)
            metrics, message = check.metrics(), told(check, data)
        progress = Progress(_STAGE, fraction, _STAGE, outcome.round, rounds, message)
        files.save(point, progress)
        emit(ProgressMessage(progress, metrics))
    return point

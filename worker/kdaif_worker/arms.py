"""Trains every arm with every seed, round by round, with a checkpoint after each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch

from kdaif.datasets import DistillationData
from kdaif.evaluation import predict
from kdaif.records import CanaryCheck, DistillationSpec, Progress
from kdaif.rounds import round_of_student, student_of, train_arm
from kdaif.store import BlobStore
from kdaif.teachers import SoftTargets
from kdaif_worker.attempt_files import AttemptFiles
from kdaif_worker.canary import checked, shipped_arm
from kdaif_worker.checkpoint import ArmKey, Checkpoint, FinishedArm
from kdaif_worker.messages import Assignment, ProgressMessage

_DISTIL_SHARE = 0.85  # of the job's progress bar: loading and teacher come before, evaluation and export after
_BEFORE = 0.05


def primary_arm(spec: DistillationSpec) -> str:
    """The arm that the job asks for. Its student is shipped, unless it failed the canary check."""
    return "influence" if spec.weighting.method == "influence" else "uniform"


def arm_names(spec: DistillationSpec, data: DistillationData, check: CanaryCheck | None) -> tuple[str, ...]:
    """The arms to train, the primary one first; the one that is shipped is always among them."""
    if spec.control_arms is not None:
        controls: tuple[str, ...] = spec.control_arms
    else:
        truth = data.unlabeled.truth
        knows_truth = truth is not None and bool((truth >= 0).any())
        controls = ("uniform", "supervised", "oracle") if knows_truth else ("uniform", "supervised")
    primary = primary_arm(spec)
    return tuple(dict.fromkeys((primary, *controls, shipped_arm(spec, check))))


def train_all(
    assignment: Assignment,
    data: DistillationData,
    targets: SoftTargets,
    device: torch.device,
    blobs: BlobStore,
    emit: Callable[[ProgressMessage], None],
    *,
    initial_weights: Mapping[str, torch.Tensor] | None = None,
) -> Checkpoint:
    """The checkpoint at which every arm is finished, going on from the furthest one there is.

    The student that is shipped, and the weights shards, are those of the primary arm's first seed, so that the
    published weights are the ones that made the published student. Where the primary arm failed the canary check, the
    uniform arm's student is shipped; the weights are published all the same, for a person to see what was wrong.
    """
    spec = assignment.spec
    files = AttemptFiles(assignment, blobs, emit)
    point = checked(
        assignment,
        data,
        targets,
        device,
        files,
        emit,
        files.read_latest(),
        fraction=_BEFORE,
        initial_weights=initial_weights,
    )
    arms, shipped = arm_names(spec, data, point.canary), shipped_arm(spec, point.canary)
    first_seed = spec.training.seed
    keys: list[ArmKey] = [(arm, first_seed + offset) for offset in range(spec.training.seeds) for arm in arms]
    total = len(keys) * spec.training.rounds
    for arm, seed in keys:
        if (arm, seed) in point.finished:
            continue
        weighs = (arm, seed) == (primary_arm(spec), first_seed)
        ships = (arm, seed) == (shipped, first_seed)
        for outcome in train_arm(
            arm, spec, data, targets, seed=seed, device=device, resume=point.current, initial_weights=initial_weights
        ):
            shards = point.shards
            if weighs and outcome.weights is not None:
                shards += (files.add_weights(outcome.round, outcome.weights),)
            point = dataclasses.replace(
                point,
                step=point.step + 1,
                current=outcome.state,
                current_curve=(*point.current_curve, outcome.metrics),
                shards=shards,
            )
            if outcome.last:
                point = _finish_arm(point, (arm, seed), spec, data, device, ships=ships, weighs=weighs)
            # An arm that ends early counts as whole, so that the bar jumps ahead rather than to stop short of its end.
            of_arms = len(point.finished) * spec.training.rounds + (0 if outcome.last else outcome.round)
            progress = Progress(
                stage="distil",
                fraction=_BEFORE + _DISTIL_SHARE * of_arms / total,
                arm=arm,
                round=outcome.round,
                rounds=spec.training.rounds,
                message=f"seed {seed - first_seed + 1} of {spec.training.seeds}",
            )
            files.save(point, progress)
            emit(ProgressMessage(progress, outcome.metrics))
    files.finish()
    return point


def _finish_arm(
    point: Checkpoint,
    key: ArmKey,
    spec: DistillationSpec,
    data: DistillationData,
    device: torch.device,
    *,
    ships: bool,
    weighs: bool,
) -> Checkpoint:
    state = point.current
    if state is None:
        raise AssertionError("an arm ends with a state")
    student = student_of(state, spec, data)
    logits = predict(student, data.test.features, device)
    external = None if data.external is None else predict(student, data.external.features, device)
    return dataclasses.replace(
        point,
        finished=point.finished | {key: FinishedArm(logits, point.current_curve, external)},
        current=None,
        current_curve=(),
        student=state if ships else point.student,
        # Of an arm that ended early, later rounds' weights did not make the student.
        shards=tuple(shard for shard in point.shards if shard.round <= round_of_student(state))
        if weighs
        else point.shards,
    )

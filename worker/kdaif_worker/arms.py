"""Trains every arm with every seed, round by round, with a checkpoint after each."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from importlib.metadata import version

import torch

from kdaif.collective import Collective
from kdaif.datasets import DistillationData
from kdaif.evaluation import predict
from kdaif.evaluation.alarms import canary_alarm, worst_group_alarms
from kdaif.evaluation.subgroups import group_accuracies
from kdaif.records import CanaryCheck, DistillationSpec, Progress
from kdaif.records.monitoring import Alarm, GroupAccuracy
from kdaif.records.provenance import Provenance
from kdaif.rounds import (
    ArmState,
    PoolScoring,
    RoundOutcome,
    round_of_student,
    sharded_student_of,
    student_alone,
    student_of,
    train_arm,
)
from kdaif.scratch import Scratch
from kdaif.store import BlobStore
from kdaif.students import Student
from kdaif.teachers import SoftTargets
from kdaif.workspace import Workspace
from kdaif_worker.attempt_files import AttemptFiles
from kdaif_worker.canary import checked, shipped_arm
from kdaif_worker.checkpoint import ArmKey, Checkpoint, FinishedArm
from kdaif_worker.evidence import explained
from kdaif_worker.messages import Assignment, ProgressMessage
from kdaif_worker.review import raised

_DISTIL_SHARE = 0.85  # of the job's progress bar: loading and teacher come before, evaluation and export after
_BEFORE = 0.05
_TOO_LATE = (
    "The decisions of revision {} came when the weighted student was trained already: they do not change this job. Run "
    "it again with them (kdaif rerun)"
)


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
    scratch: Scratch | None = None,
    initial_weights: Mapping[str, torch.Tensor] | None = None,
    revision: int = 0,
    scoring: PoolScoring | None = None,
    sharded: bool = False,
) -> Checkpoint:
    """The checkpoint at which every arm is finished, going on from the furthest one there is.

    ``revision`` is the last one of the decisions that ``data`` and ``targets`` hold. Where it is later than that of the
    checkpoint, a person decided in a review, and the next round of the primary arm is weighed anew.

    The student that is shipped, and the weights shards, are those of the primary arm's first seed, so that the
    published weights are the ones that made the published student. Where the primary arm failed the canary check, the
    uniform arm's student is shipped; the weights are published all the same, for a person to see what was wrong.
    """
    with contextlib.closing(AttemptFiles(assignment, blobs, emit, scratch)) as files:
        return _train_all(
            assignment, data, targets, device, files, emit, scratch, initial_weights, revision, scoring, sharded
        )


def _train_all(
    assignment: Assignment,
    data: DistillationData,
    targets: SoftTargets,
    device: torch.device,
    files: AttemptFiles,
    emit: Callable[[ProgressMessage], None],
    scratch: Scratch | None,
    initial_weights: Mapping[str, torch.Tensor] | None,
    revision: int,
    scoring: PoolScoring | None,
    sharded: bool,
) -> Checkpoint:
    spec, group = assignment.spec, Collective.of_this_process()
    point = checked(
        assignment,
        data,
        targets,
        device,
        files,
        emit,
        files.read_latest(),
        fraction=_BEFORE,
        scratch=scratch,
        initial_weights=initial_weights,
        scoring=scoring,
        sharded=sharded,
    )
    arms, shipped = arm_names(spec, data, point.canary), shipped_arm(spec, point.canary)
    first_seed = spec.training.seed
    decided = point.step > 0 and revision > point.revision
    point = dataclasses.replace(point, revision=revision)
    if decided and (primary_arm(spec), first_seed) in point.finished:
        emit(ProgressMessage(Progress("distil", _BEFORE, message=_TOO_LATE.format(revision)), warning=True))
    keys: list[ArmKey] = [(arm, first_seed + offset) for offset in range(spec.training.seeds) for arm in arms]
    total = len(keys) * spec.training.rounds
    for arm, seed in keys:
        if (arm, seed) in point.finished:
            continue
        weighs = (arm, seed) == (primary_arm(spec), first_seed)
        ships = (arm, seed) == (shipped, first_seed)
        for outcome in train_arm(
            arm,
            spec,
            data,
            targets,
            seed=seed,
            device=device,
            scratch=scratch,
            resume=point.current,
            initial_weights=initial_weights,
            weighed_anew=decided,
            scoring=scoring,
            sharded=sharded,
        ):
            shards = point.shards
            if weighs and outcome.weights is not None:
                made_by = _provenance(assignment, seed, outcome)
                shards += (files.add_weights(outcome.round, outcome.weights, made_by),)
            point = dataclasses.replace(
                point,
                step=point.step + 1,
                current=outcome.state,
                current_curve=(*point.current_curve, outcome.metrics),
                shards=shards,
            )
            if outcome.last:
                # Where students are cut, the first process alone has a whole one, on its CPU.
                if weighs and (group.leads or not sharded):
                    judge = torch.device("cpu") if sharded else device
                    point = _with_evidence(point, outcome.state, spec, data, targets, judge, files, emit, scratch)
                student = (
                    sharded_student_of(outcome.state, spec, data, Workspace(device, scratch))
                    if sharded
                    else student_of(outcome.state, spec, data)
                )
                point = _finish_arm(point, (arm, seed), student, data, device, ships=ships, weighs=weighs)
            # An arm that ends early counts as whole, so that the bar jumps ahead rather than to stop short of its end.
            of_arms = len(point.finished) * spec.training.rounds + (0 if outcome.last else outcome.round)
            progress = Progress(
                stage="distil",
                fraction=_BEFORE + _DISTIL_SHARE * of_arms / total,
                arm=arm,
                round=outcome.round,
                rounds=spec.training.rounds,
                message=f"seed {seed - first_seed + 1} of {spec.training.seeds}{_left_out(outcome.metrics)}",
            )
            files.save(point, progress)
            emit(ProgressMessage(progress, outcome.metrics))
            if weighs and outcome.watched is not None:
                point = dataclasses.replace(point, groups=outcome.watched.groups)
                point = raised(point, outcome.watched.alarms, spec, progress, files, emit, data.class_names)
    progress = Progress("distil", _BEFORE + _DISTIL_SHARE, message="every arm is trained")
    point = raised(point, _alarms_at_the_end(spec, data, point), spec, progress, files, emit, data.class_names)
    files.finish()
    return point


def _left_out(metrics: Mapping[str, float]) -> str:
    """What a round says where its weights are those of before."""
    if metrics.get("weights_settled"):
        return "; the weights have settled, and are not scored again"
    if metrics.get("weights_frozen"):
        return "; the weights stay, since this scoring says too little"
    return ""


def _with_evidence(
    point: Checkpoint,
    state: ArmState,
    spec: DistillationSpec,
    data: DistillationData,
    targets: SoftTargets,
    device: torch.device,
    files: AttemptFiles,
    emit: Callable[[ProgressMessage], None],
    scratch: Scratch | None,
) -> Checkpoint:
    """With the explained samples of the last weights that made the student. A job does not fail for want of them."""
    shards = [shard for shard in point.shards if shard.round <= round_of_student(state)]
    if not shards:
        return point
    room = Scratch() if scratch is None else scratch
    try:
        with files.opened(shards[-1]) as shard:
            table = explained(shard, state, data, targets, spec, device=device, scratch=room)
    except (ValueError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        emit(ProgressMessage(Progress("distil", _BEFORE, message=f"No sample is explained: {error}"), warning=True))
        return point
    if table is None:
        return point
    return dataclasses.replace(point, evidence=files.add_evidence(shards[-1].round, table))


def _alarms_at_the_end(spec: DistillationSpec, data: DistillationData, point: Checkpoint) -> tuple[Alarm, ...]:
    accuracies = accuracies_of_groups(spec, data, point)
    return worst_group_alarms(accuracies, spec.monitoring.fewest_group_rows) + canary_alarm(point.canary)


def accuracies_of_groups(
    spec: DistillationSpec, data: DistillationData, point: Checkpoint
) -> tuple[GroupAccuracy, ...]:
    """Of the shipped student on the test rows, beside the uniform one where it is another."""
    shipped, seed = shipped_arm(spec, point.canary), spec.training.seed
    uniform = point.finished.get(("uniform", seed)) if shipped != "uniform" else None
    return group_accuracies(
        data.test.labels,
        data.test.groups,
        point.finished[shipped, seed].test_logits,
        None if uniform is None else uniform.test_logits,
    )


def _provenance(assignment: Assignment, seed: int, outcome: RoundOutcome) -> Provenance:
    weighting = assignment.spec.weighting
    return Provenance(
        job=assignment.job_id,
        attempt=assignment.attempt,
        round=outcome.round,
        seed=seed,
        solver=weighting.solver,
        damping=outcome.metrics.get("damping"),
        blocks=weighting.blocks,
        reliability=outcome.metrics.get("reliability"),
        version=version("kdaif"),
        teacher_trust=outcome.metrics.get("teacher_trust"),
        least_sureness=outcome.metrics.get("teacher_least_sureness"),
    )


def _finish_arm(
    point: Checkpoint,
    key: ArmKey,
    student: Student,
    data: DistillationData,
    device: torch.device,
    *,
    ships: bool,
    weighs: bool,
) -> Checkpoint:
    state = point.current
    if state is None:
        raise AssertionError("an arm ends with a state")
    logits = predict(student, data.test.features, device)
    external = None if data.external is None else predict(student, data.external.features, device)
    return dataclasses.replace(
        point,
        finished=point.finished | {key: FinishedArm(logits, point.current_curve, external)},
        current=None,
        current_curve=(),
        student=student_alone(state) if ships else point.student,
        # Of an arm that ended early, later rounds' weights did not make the student.
        shards=tuple(shard for shard in point.shards if shard.round <= round_of_student(state))
        if weighs
        else point.shards,
    )

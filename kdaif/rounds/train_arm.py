"""One arm of a job: rounds of training, and in the influence arm a scoring after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from kdaif.datasets import DistillationData
from kdaif.distillation import BeliefRecord, SoftRows, learning_rates, moving_average, round_schedule, train_steps
from kdaif.errors import FieldViolation, InvalidInputError
from kdaif.evaluation import chance_of_more
from kdaif.processes import give_memory_back
from kdaif.records.spec import DistillationSpec
from kdaif.rounds.arm_rows import ArmRows, arm_rows, held_out_rows
from kdaif.rounds.beliefs import Beliefs, beliefs_while_learning, logits_of, present_beliefs, smoothed
from kdaif.rounds.best_round import BestRound, better
from kdaif.rounds.cross_fitting import cross_fit, with_every_label
from kdaif.rounds.freezing import Freezing
from kdaif.rounds.new_student import new_student
from kdaif.rounds.reweighting import PoolScoring, Reweighted, Weighting, reweigh
from kdaif.rounds.state import ArmState, pack, restore, under
from kdaif.rounds.watching import Watched, stability, watch, with_group_floors
from kdaif.rounds.weights_rows import WeightsRows, weights_rows
from kdaif.scratch import Scratch
from kdaif.students import Student, standardisation, taught_network
from kdaif.teachers import SoftTargets
from kdaif.weighting import with_overrides
from kdaif.workspace import Workspace


@dataclass(frozen=True, eq=False)
class RoundOutcome:
    """The end of one round.

    Attributes:
        round: counted from 1.
        state: enough to go on, and to get the student.
        metrics: of the round; a number that could not be computed is left out.
        weights: those the round trained with, not yet made into a table; None where it was not scored anew.
        last: the arm ends with this round.
        watched: what monitoring saw in these weights; None where it was not scored anew.
    """

    round: int
    state: ArmState
    metrics: dict[str, float]
    weights: WeightsRows | None
    last: bool
    watched: Watched | None = None


def train_arm(
    arm: str,
    spec: DistillationSpec,
    data: DistillationData,
    targets: SoftTargets,
    *,
    seed: int,
    device: torch.device,
    scratch: Scratch | None = None,
    resume: ArmState | None = None,
    initial_weights: Mapping[str, Tensor] | None = None,
    weighed_anew: bool = False,
    scoring: PoolScoring | None = None,
    sharded: bool = False,
) -> Iterator[RoundOutcome]:
    """Trains one arm and yields after every round.

    All arms of a seed start from the same parameters and take the same steps on the same rows in the same order; they
    differ in the weights and targets of U alone. ``supervised`` takes as many steps on L alone. ``influence`` scores U
    before the first round by a scout, a student that learns from L alone and is then thrown away, and before later
    rounds by the student itself; a person's `weight_override` has the last word in it, from the first round on. Where
    the job keeps a moving average of the weights, that is the student which scores, is measured on V and comes out;
    beliefs stay those of the student that learns. With patience the arm may end early.

    Args:
        arm: ``influence``, ``uniform``, ``supervised`` or ``oracle`` (weight 0 for every row of U whose pseudo-label is
            not known to be right).
        spec: the job.
        data: its rows.
        targets: of U.
        seed: of the arm; fixes parameters and order.
        device: where to train.
        scratch: where the rows are, and what is as large as they; None keeps all in memory.
        resume: the state after some round; goes on as if never interrupted.
        initial_weights: that every arm, and the scout, starts from, as `read_initial_weights` checked them; None draws
            them by the seed.
        weighed_anew: the first round after `resume` is scored whatever its number: a person overruled rows meanwhile.
        scoring: of U, once the solves of a scoring are done; None does it here.
        sharded: students are cut over the processes that share the job, of which there must be two at least. The first
            one's outcomes then hold their parameters, and the others' do not.

    Raises:
        InvalidInputError: unknown arm; ``oracle`` without known truth; an architecture or a loss that does not fit
            the data; what `unshardable` tells.
        NonFiniteError: a loss or gradient became NaN or infinite.
        InvalidDataError: no rows to train with.
    """
    _refuse_misfits(spec, len(data.class_names), sharded=sharded)
    rows = arm_rows(data, targets, spec.training, device, scratch)
    workspace, folds = rows.workspace, spec.weighting.cross_fit_folds
    if folds:
        rows = with_every_label(rows, held_out_rows(data.gate, workspace))
    weighting = _initial_weighting(arm, rows)
    inputs = standardisation([data.labeled.features, data.unlabeled.features], data.signature, workspace.scratch)
    new = partial(new_student, spec, data, inputs, seed, initial_weights, workspace, sharded=sharded)
    student, decay = new(), spec.training.ema_decay
    if spec.training.dual_head:
        student.add_soft_head()
    optimizer = _optimizer(student, spec)
    average = None if decay is None else moving_average(student, decay, twin=new() if sharded else None)
    finished, beliefs, best, freezing = 0, None, None, Freezing()
    if resume is not None:
        restore(resume, student, optimizer, average, workspace.collective)
        finished, best = int(resume.numbers["round"]), BestRound.from_state(resume)
        freezing = Freezing.from_state(resume)
        weighting = Weighting.from_tensors(under(resume, "weighting/"), rows)
        stored = under(resume, "beliefs/")
        beliefs = Beliefs.from_tensors(stored, workspace) if stored else None
    shown = student if average is None else cast(Student, average.module)
    decided_round = finished + 1 if weighed_anew and resume is not None else None
    while not _is_over(finished, best, spec):
        round_number = finished + 1
        metrics, table, watched = {}, None, None
        decided = round_number == decided_round  # by a person: their word is weighed at once, however settled all is
        scored = arm == "influence" and (is_scored(round_number, spec) or decided)
        if scored and freezing.settled and not decided:
            metrics["weights_settled"] = 1.0
        elif scored:
            started = time.perf_counter()
            scout = partial(_scout, new, spec, seed)
            judge, judged, scores = shown, rows, None
            if folds:
                found = cross_fit(rows, weighting, spec, seed, scout, scoring)
                beliefs, scores, judged = found.beliefs, found.scores, replace(rows, validation=found.held_out)
            elif beliefs is None:
                judge = scout(rows)
                beliefs = present_beliefs(judge, rows)
            former, reweighted = weighting, reweigh(judge, judged, weighting, beliefs, spec, seed, scores, scoring)
            metrics = reweighted.metrics | {"influence_seconds": time.perf_counter() - started}
            metrics |= stability(former.weights, reweighted.weighting.weights, seed, rows.workspace.scratch)
            metrics |= _wrong_row_auroc(rows, reweighted)
            metrics = workspace.collective.first_ones(metrics)
            if freezing.keeps_former(metrics, spec.weighting) and not decided:
                metrics["weights_frozen"] = 1.0
            else:
                freezing = freezing.after(metrics, spec.weighting)
                watched = watch(data, targets, rows, reweighted.weighting, metrics, spec.monitoring, round_number)
                weighting = with_group_floors(reweighted.weighting, data, rows, watched.groups, spec.monitoring)
                table = weights_rows(
                    data, targets, replace(reweighted, weighting=weighting), round_number, workspace.scratch
                )
            give_memory_back()  # training needs it in other sizes
        started = time.perf_counter()
        record = None
        if arm == "influence" and not folds:
            like = rows.teacher_log_targets
            record = BeliefRecord(rows.pseudo_label_codes, len(data.class_names), workspace, like)
        soft = None if arm == "supervised" else weighting
        metrics["train_loss"] = _train_round(student, optimizer, rows, soft, spec, seed, round_number, record, average)
        if record is not None:
            learned = beliefs_while_learning(record, student, rows)
            beliefs = smoothed(beliefs, learned, spec.weighting.smoothing, workspace)
        metrics["train_seconds"] = time.perf_counter() - started
        metrics = workspace.collective.first_ones(metrics | _held_out_metrics(shown, rows))
        if spec.training.patience_rounds is not None:
            best = better(best, shown, round_number, metrics["validation_loss"])
        finished = round_number
        remembered = {"average": average.state_dict() if average else {}, "best": best.student if best else {}}
        of_rows = {"weighting": weighting.tensors(rows), "beliefs": beliefs.tensors() if beliefs else {}}
        state = pack(
            student,
            optimizer,
            remembered,
            of_rows,
            workspace,
            round_number=round_number,
            seed=seed,
            more_numbers=freezing.numbers() | (best.numbers() if best else {}),
        )
        yield RoundOutcome(round_number, state, metrics, table, _is_over(finished, best, spec), watched)


def unshardable(spec: DistillationSpec) -> dict[str, str]:
    """Why the students of a job cannot be cut over processes, by field of the spec: nothing where they can."""
    found = {}
    if spec.weighting.method == "influence" and spec.weighting.solver != "head":
        found["weighting.solver"] = (
            f"is {spec.weighting.solver!r}, which needs all parameters as one vector on each device, and this worker "
            "cuts students over its processes (shard_students); set it to 'head', or send the job to a worker that "
            "keeps students whole (scheduling.worker_labels)"
        )
    if spec.training.dual_head:
        found["training.dual_head"] = (
            "is not for a worker that cuts students over its processes (shard_students); leave it out, or send the job "
            "to a worker that keeps students whole (scheduling.worker_labels)"
        )
    return found


def _refuse_misfits(spec: DistillationSpec, n_classes: int, *, sharded: bool) -> None:
    """What `kdaif.datasets` refuses too, for rows that did not come from there."""
    found = [FieldViolation(f"spec.training.{name}", why) for name, why in spec.training.misfits(n_classes).items()]
    if sharded:
        found += [FieldViolation(f"spec.{name}", why) for name, why in unshardable(spec).items()]
    if found:
        raise InvalidInputError("; ".join(f"{each.field}: {each.description}" for each in found), tuple(found))


def _is_over(finished: int, best: BestRound | None, spec: DistillationSpec) -> bool:
    """After so many rounds, by their number or because V has not got better for long enough."""
    patience = spec.training.patience_rounds
    if best is not None and patience is not None and best.waited_long_enough(finished, patience):
        return True
    return finished >= spec.training.rounds


def _optimizer(student: Student, spec: DistillationSpec) -> torch.optim.Optimizer:
    training = spec.training
    return torch.optim.AdamW(
        student.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )


def _initial_weighting(arm: str, rows: ArmRows) -> Weighting:
    weights = rows.workspace.scratch.empty((len(rows.ids),), np.float64)
    for some in rows.workspace.slabs(len(weights), weights.itemsize):
        weights[some] = 1.0
    if arm == "oracle":
        if rows.wrong is None:
            raise InvalidInputError.of("spec.control_arms", "'oracle' needs the column 'truth' in the unlabelled rows")
        weights = (rows.truth_known & ~rows.wrong).astype(np.float64)
    elif arm == "influence":
        weights = with_overrides(weights, rows.weight_override, rows.workspace.scratch)
    elif arm not in ("uniform", "supervised"):
        raise InvalidInputError.of("spec.control_arms", f"there is no arm {arm!r}")
    return Weighting(weights, rows.teacher_log_targets)


def is_scored(round_number: int, spec: DistillationSpec) -> bool:
    """The first round by a scout, which needs a loss on L; later ones at the rounds between scorings."""
    if round_number == 1:
        return spec.weighting.scout_epochs > 0 and spec.training.hard_label_weight > 0
    if spec.weighting.cross_fit_folds:
        return False
    return round_number % spec.weighting.rounds_per_scoring == 0


def _scout(new: Callable[[], Student], spec: DistillationSpec, seed: int, rows: ArmRows) -> Student:
    """A student of the same architecture that has seen no pseudo-label, and so has not learned to believe one."""
    scout = new()
    _train_round(scout, _optimizer(scout, spec), rows, None, spec, seed, 0, None, None)
    if spec.training.dual_head:
        # No soft target has taught it yet: what it knows of a class stands in for what a soft head would.
        scout.add_soft_head()
    return scout


def _train_round(
    student: Student,
    optimizer: torch.optim.Optimizer,
    rows: ArmRows,
    weighting: Weighting | None,
    spec: DistillationSpec,
    seed: int,
    round_number: int,
    record: BeliefRecord | None,
    average: AveragedModel | None,
) -> float:
    """Mean objective over the round's steps. Round 0 is the scout's, outside the schedule of learning rates."""
    training, device = spec.training, rows.workspace.device
    steps = round_schedule(
        len(rows.labeled.ids),
        len(rows.ids),
        batch_size=training.batch_size,
        epochs=spec.weighting.scout_epochs if round_number == 0 else training.epochs_per_round,
        seed=seed,
        round_number=round_number,
        balanced_labels=rows.labeled.labels.cpu().numpy() if training.class_balanced else None,
    )
    rates = learning_rates(training, len(steps), round_number) if round_number > 0 else None
    soft = None
    if weighting is not None:
        soft = SoftRows(rows.features, weighting.log_targets, _narrow(weighting.weights, rows.workspace), rows.ids)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Dropout draws from torch's own generator: seeded by the round, so that a resumed round draws the same.
        torch.manual_seed(int(np.random.SeedSequence((seed, round_number)).generate_state(1)[0]))
        return train_steps(
            student,
            optimizer,
            rows.labeled,
            soft,
            steps,
            training,
            workspace=rows.workspace,
            record=record,
            rates=rates,
            average=average,
            both_heads=taught_network(student) if soft is not None and training.dual_head else None,
        )


def _narrow(weights: NDArray[np.float64], workspace: Workspace) -> Tensor:
    """Float32 `[N]` on the device."""
    found = workspace.empty(weights.shape)
    for rows in workspace.slabs(len(weights), 12):
        found[rows] = torch.from_numpy(weights[rows]).to(found)
    return found


def _held_out_metrics(student: Student, rows: ArmRows) -> dict[str, float]:
    student.eval()
    held_out = rows.validation
    with torch.no_grad():
        logits = logits_of(student, held_out.features, rows.workspace)
        loss = float(functional.cross_entropy(logits, held_out.labels))
    right = (logits.argmax(dim=1) == held_out.labels).float().mean()
    return {"validation_loss": loss, "validation_accuracy": float(right)}


def _wrong_row_auroc(rows: ArmRows, reweighted: Reweighted) -> dict[str, float]:
    """How well low log-odds find rows whose pseudo-label is wrong, among those of known truth."""
    if rows.wrong is None:
        return {}
    of_wrong, of_right = [], []
    for some in rows.workspace.slabs(len(rows.wrong), reweighted.log_odds.itemsize + 2):
        log_odds, known, wrong = reweighted.log_odds[some], rows.truth_known[some], rows.wrong[some]
        of_wrong.append(log_odds[known & wrong])
        of_right.append(log_odds[known & ~wrong])
    area = chance_of_more(np.concatenate(of_right), np.concatenate(of_wrong))
    return {} if area is None else {"wrong_row_auroc": area}

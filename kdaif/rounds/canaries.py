"""Canaries: labelled rows that play pseudo-labelled rows, half of them with a wrong label, in an arm on the side.

Whether weights find wrong pseudo-labels cannot be seen on rows whose truth nobody knows. It can on these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.datasets import DistillationData, Rows, Strings
from kdaif.evaluation import auroc, auroc_stderr
from kdaif.records import CanaryCheck, DistillationSpec
from kdaif.rounds.state import ArmState
from kdaif.rounds.train_arm import is_scored
from kdaif.scratch import Scratch
from kdaif.teachers import SoftTargets

MOST_CANARIES = 200  # the standard error of the figure is then under .04, and U is hardly another
FEWEST_PER_KIND = 5
_ONE_IN = 5  # of the labelled rows of each class
_SCORINGS = 2  # the first is a scout's; the second is of a student that learned from the canaries


@dataclass(frozen=True, eq=False)
class Canaries:
    """The side arm's rows, and which of them are canaries.

    Attributes:
        data: as of the job, but that U ends with the K canaries, which L and the gate no longer hold.
        targets: of that U.
        flipped: bool `[K]`, canaries whose pseudo-label is wrong; the others' is right.
    """

    data: DistillationData
    targets: SoftTargets
    flipped: NDArray[np.bool_]

    @property
    def enough(self) -> bool:
        """Whether there are canaries enough of both kinds to say anything."""
        return min(self.counts()) >= FEWEST_PER_KIND

    def counts(self) -> tuple[int, int]:
        """Flipped and kept canaries."""
        flipped = int(self.flipped.sum())
        return flipped, len(self.flipped) - flipped


def plant_canaries(data: DistillationData, targets: SoftTargets, seed: int, scratch: Scratch | None = None) -> Canaries:
    """Takes the gate rows and a fifth of L, at most 200, and gives each a soft target as the teacher's are.

    A soft target is that of a random row of U with the pseudo-label that is to be planted, so that nothing but the
    label can give a canary away. Where no row has it, that of any row, with two classes trading places. Equal arguments
    give equal canaries.

    Args:
        data: of the job.
        targets: of its U.
        seed: of all choices.
        scratch: where U with its canaries goes; None keeps it in memory.
    """
    room = Scratch() if scratch is None else scratch
    generator = np.random.default_rng((seed, 7))
    from_gate = _stratified(data.gate.labels, generator)[:MOST_CANARIES]
    from_labeled = _stratified(data.labeled.labels, generator, one_in=_ONE_IN)[: MOST_CANARIES - len(from_gate)]
    truth = np.concatenate([data.gate.labels[from_gate], data.labeled.labels[from_labeled]])
    flipped = _every_second(truth, generator)
    classes = len(data.class_names)
    others = (truth + generator.integers(1, classes, len(truth))) % classes
    planted = _soft_targets(np.where(flipped, others, truth), targets, generator, room)
    unlabeled = data.unlabeled
    features = np.concatenate([data.gate.features[from_gate], data.labeled.features[from_labeled]])
    n_known, n_planted = len(unlabeled), len(truth)
    given = unlabeled.weight_override
    side = Rows(
        ids=_ids_with_appended(unlabeled.ids, n_planted, room),
        features=_with_appended(unlabeled.features, features, room),
        labels=unlabeled.labels,
        truth=_with_appended(np.broadcast_to(np.int64(-1), n_known), truth, room),
        weight_override=None if given is None else _with_appended(given, np.full(n_planted, np.nan), room),
    )
    return Canaries(
        data=replace(
            data,
            labeled=_without(data.labeled, from_labeled),
            gate=_without(data.gate, from_gate),
            unlabeled=side,
        ),
        targets=SoftTargets(_with_appended(targets.logits, planted, room), None, None, None),
        flipped=flipped,
    )


def _ids_with_appended(known: NDArray[Any] | Strings, count: int, scratch: Scratch) -> NDArray[Any] | Strings:
    """The ids of U and what canaries go by, in messages alone: numbers below zero among numbers."""
    names = [f"canary {place}" for place in range(count)]
    if isinstance(known, Strings):
        chunks = known.array.chunks if isinstance(known.array, pa.ChunkedArray) else [known.array]
        return Strings(pa.chunked_array([*chunks, pa.array(names, known.array.type)]))
    numbers = np.issubdtype(known.dtype, np.integer)
    return _with_appended(known, -1 - np.arange(count) if numbers else np.array(names, dtype=object), scratch)


def _with_appended(known: NDArray[Any], more: NDArray[Any], scratch: Scratch) -> NDArray[Any]:
    """Both `[N + K, ...]`, one after the other, without a second copy in memory."""
    found = scratch.empty((len(known) + len(more), *known.shape[1:]), known.dtype)
    for rows in scratch.slabs(len(known), 2 * known[:1].nbytes):
        found[rows] = known[rows]
    found[len(known) :] = more
    return found


def side_arm_spec(spec: DistillationSpec) -> DistillationSpec | None:
    """The job cut to the rounds up to the second scoring of the influence arm; None where nothing is ever scored."""
    scored = [number for number in range(1, spec.training.rounds + 1) if is_scored(number, spec)]
    if not scored:
        return None
    training = spec.training.model_copy(update={"rounds": scored[:_SCORINGS][-1], "patience_rounds": None})
    return spec.model_copy(update={"training": training})


def judge_canaries(canaries: Canaries, state: ArmState, bar: float) -> CanaryCheck:
    """How well a low weight finds the flipped canaries, by the weights of the last scoring.

    Args:
        canaries: of the side arm.
        state: of the side arm after its last round.
        bar: of the job.
    """
    flipped, kept = canaries.counts()
    weights = state.tensors["weighting/weights"].numpy()[-(flipped + kept) :]
    area = auroc(-weights, canaries.flipped)
    if area is None:
        raise AssertionError("canaries enough of both kinds")
    return CanaryCheck(bar=bar, flipped=flipped, kept=kept, auroc=area, stderr=auroc_stderr(area, flipped, kept))


def _stratified(labels: NDArray[np.int64], generator: np.random.Generator, *, one_in: int = 1) -> NDArray[np.int64]:
    """Positions in random order, of which every head holds the classes in their shares.

    Args:
        labels: `[N]`.
        generator: of the order.
        one_in: of each class only one in so many, rounded down.
    """
    order = generator.permutation(len(labels))
    of_class = labels[order]
    counts = np.bincount(labels, minlength=1)
    by_class = np.argsort(of_class, kind="stable")
    before = np.empty(len(labels), dtype=np.int64)  # rows of its class that stand before a row
    before[by_class] = np.arange(len(labels)) - (np.cumsum(counts) - counts)[of_class[by_class]]
    chosen = before < counts[of_class] // one_in
    passed = (before + 0.5) / counts[of_class]
    return order[chosen][np.argsort(passed[chosen], kind="stable")]


def _every_second(labels: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.bool_]:
    """Half of the rows, and half of each class up to one row."""
    order = np.lexsort((generator.random(len(labels)), labels))
    half = np.zeros(len(labels), dtype=np.bool_)
    half[order[1::2]] = True
    return half


def _soft_targets(
    wanted: NDArray[np.int64], targets: SoftTargets, generator: np.random.Generator, scratch: Scratch
) -> NDArray[np.float32]:
    """Logits `[K, C]` whose largest is that of the class wanted, as the teacher gave them elsewhere."""
    alike = _rows_by_label(np.unique(wanted).tolist(), targets, scratch)
    donors = np.array(
        [
            generator.choice(alike[label]) if len(alike[label]) else generator.integers(len(targets.logits))
            for label in wanted.tolist()
        ],
        dtype=np.int64,
    )
    planted: NDArray[np.float32] = scratch.take(targets.logits, donors)
    places, said = np.arange(len(wanted)), planted.argmax(axis=1)
    planted[places, wanted], planted[places, said] = planted[places, said], planted[places, wanted]
    return planted


def _rows_by_label(labels: list[int], targets: SoftTargets, scratch: Scratch) -> Mapping[int, NDArray[np.int32]]:
    """The rows that the teacher gives each of these labels, ascending."""
    pseudo_labels = targets.pseudo_labels(scratch)
    found: dict[int, list[NDArray[np.int32]]] = {label: [np.empty(0, np.int32)] for label in labels}
    for some in scratch.slabs(len(pseudo_labels), 3 * pseudo_labels.itemsize):
        of_some = pseudo_labels[some]
        for label, runs in found.items():
            runs.append((some.start + np.flatnonzero(of_some == label)).astype(np.int32))
    return {label: np.concatenate(runs) for label, runs in found.items()}


def _without(rows: Rows, positions: NDArray[np.int64]) -> Rows:
    kept = np.setdiff1d(np.arange(len(rows)), positions)
    return Rows(ids=rows.ids[kept], features=rows.features[kept], labels=rows.labels[kept])

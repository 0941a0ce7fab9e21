"""What monitoring sees in one round's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets import DistillationData
from kdaif.evaluation.alarms import round_alarms
from kdaif.evaluation.subgroups import group_weights
from kdaif.influence import rank_correlation
from kdaif.records.monitoring import Alarm, GroupWeight, Monitoring
from kdaif.rounds.arm_rows import ArmRows
from kdaif.rounds.reweighting import Weighting
from kdaif.scratch import Scratch
from kdaif.teachers import SoftTargets
from kdaif.weighting import with_floors

_MOST_RANKED = 200_000


@dataclass(frozen=True)
class Watched:
    """Groups of U by their mean weight, and the alarms of the round."""

    groups: tuple[GroupWeight, ...]
    alarms: tuple[Alarm, ...]


def stability(
    former: NDArray[np.float64], weights: NDArray[np.float64], seed: int, scratch: Scratch | None = None
) -> dict[str, float]:
    """Rank correlation of the weights of two scorings, on at most 200,000 rows; nothing where the former had none."""
    before, now = former, weights
    if len(weights) > _MOST_RANKED:
        chosen = np.sort(np.random.default_rng((seed, 11)).choice(len(weights), _MOST_RANKED, replace=False))
        before, now = (_taken_in_order(each, chosen, scratch or Scratch()) for each in (former, weights))
    if len(now) < 2 or before.max() == before.min():
        return {}
    return {"stability": rank_correlation(before, now)}


def _taken_in_order(values: NDArray[np.float64], rows: NDArray[np.int64], scratch: Scratch) -> NDArray[np.float64]:
    """``values[rows]`` of ascending rows, slab by slab: all at once would make all of the array resident."""
    taken = []
    for some in scratch.slabs(len(values), values.itemsize):
        first, end = np.searchsorted(rows, (some.start, some.stop))
        taken.append(values[rows[first:end]])
    return np.concatenate(taken)


def watch(
    data: DistillationData,
    targets: SoftTargets,
    rows: ArmRows,
    weighting: Weighting,
    metrics: Mapping[str, float],
    monitoring: Monitoring,
    round_number: int,
) -> Watched:
    """Looks at the weights of a scoring; ``metrics`` are the round's."""
    of_validation = targets.validation_logits
    groups = group_weights(
        weighting.weights,
        data.unlabeled.groups,
        monitoring,
        teacher_wrong=None if of_validation is None else of_validation.argmax(axis=1) != data.validation.labels,
        validation_groups=data.validation.groups,
    )
    alarms = round_alarms(
        weighting.weights,
        rows.pseudo_labels,
        data.validation.labels,
        data.class_names,
        groups,
        metrics.get("reliability"),
        monitoring,
        round_number,
        rows.workspace.scratch,
    )
    rows.workspace.release()
    return Watched(groups, alarms)


def with_group_floors(
    weighting: Weighting,
    data: DistillationData,
    rows: ArmRows,
    groups: Sequence[GroupWeight],
    monitoring: Monitoring,
) -> Weighting:
    """Raises groups under the floor to it where their pseudo-labels are known to be as right as elsewhere.

    Where the teacher is wrong more often, less weight is what the group's labels deserve; where nobody can tell, the
    alarm leaves it to a person.
    """
    low = [group for group in groups if group.verdict == "low" and group.tracks_teacher_error is False]
    members = [(data.unlabeled.groups[group.column], group.name) for group in low]
    weights = with_floors(
        weighting.weights, members, monitoring.group_floor, rows.weight_override, rows.workspace.scratch
    )
    return replace(weighting, weights=weights)

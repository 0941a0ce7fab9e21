"""What a person should look at before trusting a student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.evaluation.classes import wilson_interval
from kdaif.records import CanaryCheck
from kdaif.records.monitoring import Alarm, AlarmCode, GroupAccuracy, GroupWeight, Monitoring
from kdaif.scratch import Scratch

# A class whose weight in U is under this part of its share in V has all but gone.
_GONE = 0.25


def round_alarms(
    weights: NDArray[np.floating[Any]],
    pseudo_labels: NDArray[np.integer[Any]],
    validation_labels: NDArray[np.integer[Any]],
    class_names: Sequence[str],
    groups: Sequence[GroupWeight],
    reliability: float | None,
    monitoring: Monitoring,
    round_number: int,
    scratch: Scratch | None = None,
) -> tuple[Alarm, ...]:
    """Alarms of one round's weights.

    Args:
        weights: `[N]`, of U.
        pseudo_labels: class codes, `[N]`.
        validation_labels: class codes of V, `[M]`.
        class_names: C names.
        groups: from `group_weights`.
        reliability: rank correlation of the influences of two halves of V; None where none was computed.
        monitoring: the bars.
        round_number: from 1.
        scratch: of weights and pseudo-labels; None where they are in memory.
    """
    by_class, squares = np.zeros(len(class_names)), 0.0
    for rows in (scratch or Scratch()).slabs(len(weights), 3 * 8):
        by_class += np.bincount(pseudo_labels[rows], weights=weights[rows], minlength=len(class_names))
        squares += float(np.square(weights[rows], dtype=np.float64).sum())
    total = float(by_class.sum())
    found = [_group_floor(group, monitoring.group_floor, round_number) for group in groups if group.verdict == "low"]
    found += _class_drift(by_class, validation_labels, class_names, monitoring, round_number)
    share = total * total / squares / len(weights) if squares > 0 else 0.0
    if share < monitoring.effective_share:
        message = (
            f"the weights leave {share:.1%} of the unlabelled rows' worth, under {monitoring.effective_share:.0%}: few "
            "rows teach the student. Raise weighting.floor, lower weighting.sharpness, or mend the teacher"
        )
        bar = monitoring.effective_share
        found.append(Alarm(AlarmCode.FEW_EFFECTIVE_ROWS, "", message, share, bar, round_number))
    if reliability is not None and reliability < monitoring.reliability:
        message = (
            f"two halves of the validation rows rank the samples with a correlation of {reliability:.2f}, under "
            f"{monitoring.reliability:.2f}: influence is luck here and hardly enters the weights. Give more validation "
            "rows"
        )
        bar = monitoring.reliability
        found.append(Alarm(AlarmCode.UNRELIABLE_INFLUENCE, "", message, reliability, bar, round_number))
    return tuple(found)


def canary_alarm(check: CanaryCheck | None) -> tuple[Alarm, ...]:
    """The alarm of a failed canary check."""
    if check is None or not check.failed or check.auroc is None:
        return ()
    message = (
        f"weights find labels that were planted wrong with an AUROC of {check.auroc:.2f}, under {check.bar:.2f}: the "
        "uniform student is shipped. Give more validation rows or a better student"
    )
    return (Alarm(AlarmCode.CANARY, "", message, check.auroc, check.bar),)


def worst_group_alarms(groups: Sequence[GroupAccuracy], fewest_rows: int) -> tuple[Alarm, ...]:
    """Groups on which the shipped student is worse than the uniform one by more than chance, by its interval."""
    found = []
    for group in groups:
        if group.rows < fewest_rows or group.uniform_low is None or group.accuracy >= group.uniform_low:
            continue
        subject = f"{group.column} = {group.name}"
        message = (
            f"on the {group.rows} test rows with {subject} the student gets {group.accuracy:.1%} right where the "
            f"uniform one gets {group.uniform:.1%} (95 % interval from {group.uniform_low:.1%}): weighting costs this "
            "group. Raise monitoring.group_floor, or ship the uniform arm"
        )
        found.append(Alarm(AlarmCode.WORST_GROUP, subject, message, group.accuracy, group.uniform_low))
    return tuple(found)


def _group_floor(group: GroupWeight, floor: float, round_number: int) -> Alarm:
    subject = f"{group.column} = {group.name}"
    if group.tracks_teacher_error is None:
        why = "whether the teacher is wrong there more often is not known; look at its samples before you resume"
    elif group.tracks_teacher_error:
        why = (
            f"the teacher is wrong on {group.teacher_error:.0%} of its validation rows and on "
            f"{group.error_elsewhere:.0%} elsewhere, so its pseudo-labels deserve less; mend the teacher there"
        )
    else:
        why = (
            f"the teacher is no worse there ({group.teacher_error:.0%} wrong on its validation rows, "
            f"{group.error_elsewhere:.0%} elsewhere), so this is no fault of its pseudo-labels, and its weights were "
            "raised to the floor"
        )
    message = (
        f"the {group.rows} rows with {subject} weigh {group.mean:.2f} on average (95 % interval {group.low:.2f} to "
        f"{group.high:.2f}), under the floor of {floor:.2f}: {why}"
    )
    return Alarm(AlarmCode.GROUP_FLOOR, subject, message, group.mean, floor, round_number)


def _class_drift(
    by_class: NDArray[np.float64],
    validation_labels: NDArray[np.integer[Any]],
    class_names: Sequence[str],
    monitoring: Monitoring,
    round_number: int,
) -> list[Alarm]:
    """Total variation distance of weight by class from V's shares, and classes that have all but gone."""
    total = float(by_class.sum())
    if monitoring.class_drift == 0 or total <= 0 or not len(validation_labels):
        return []
    shares = by_class / total
    counts = np.bincount(validation_labels, minlength=len(class_names))
    known = counts / counts.sum()
    distance = float(np.abs(shares - known).sum() / 2)
    # Of two samples of one distribution, E|z| standard errors apart; V is the small one.
    by_chance = float(np.sqrt(2 / np.pi / counts.sum()) * np.sqrt(known * (1 - known)).sum() / 2)
    found = []
    if distance - by_chance > monitoring.class_drift:
        message = (
            f"{distance:.0%} of the unlabelled rows' weight stands in other classes than the validation rows do "
            f"({by_chance:.0%} by chance), over {monitoring.class_drift:.0%}: pseudo-labels drift to some classes, or "
            "the unlabelled rows are of another mixture"
        )
        bar = monitoring.class_drift
        found.append(Alarm(AlarmCode.CLASS_DRIFT, "", message, distance, bar, round_number))
    for code, name in enumerate(class_names):
        least, _ = wilson_interval(float(counts[code]), float(counts.sum()))
        if shares[code] < _GONE * least:
            message = (
                f"class {name!r} has {known[code]:.1%} of the validation rows but {shares[code]:.2%} of the unlabelled "
                "rows' weight: its pseudo-labels have all but gone. Lower the teacher's threshold, or give labels of it"
            )
            subject, bar = f"class {name}", _GONE * least
            found.append(Alarm(AlarmCode.CLASS_DRIFT, subject, message, float(shares[code]), bar, round_number))
    return found

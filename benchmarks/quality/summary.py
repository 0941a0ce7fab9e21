"""From cells to the figures that issue and page speak of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from benchmarks.quality.arms import DEFAULT, MORE_LABELS, ORACLE, PARTS, RIVALS, UNIFORM
from benchmarks.quality.cells import Cell
from benchmarks.quality.conditions import OWN
from benchmarks.quality.sets import SETS
from benchmarks.quality.sets.pictures import minority_class
from kdaif.evaluation import paired_p_value

_AVERAGED = (
    "accuracy",
    "macro_f1",
    "worst_class",
    "worst_group",
    "ece",
    "auroc",
    "auprc",
    "log_odds_auroc",
    "ess",
    "stability",
    "wrong_share",
    "train_seconds",
    "weighing_seconds",
)
_WORST = {"accuracy": min, "worst_class": min, "worst_group": min, "ece": max}
# Below this gap between uniform and oracle, in points, a share of it says nothing.
_LEAST_GAP = 1.0


@dataclass(frozen=True)
class ArmSummary:
    """One arm under one condition: means over the seeds, and per seed."""

    data_set: str
    condition: str
    arm: str
    mean: dict[str, float]
    worst_seed: dict[str, float]
    accuracies: tuple[float, ...]
    worst_classes: tuple[float, ...]

    def to_row(self) -> dict[str, Any]:
        """A flat row for the results file."""
        row: dict[str, Any] = {"data_set": self.data_set, "condition": self.condition, "arm": self.arm}
        row |= {name: round(value, 5) for name, value in self.mean.items()}
        row |= {f"{name}_worst_seed": round(value, 5) for name, value in self.worst_seed.items()}
        return row | {"seeds": len(self.accuracies)}


@dataclass(frozen=True)
class ConditionSummary:
    """All arms under one condition."""

    data_set: str
    condition: str
    arms: dict[str, ArmSummary]

    @property
    def kind(self) -> str:
        """``clean``, ``planted``, ``weak`` or ``minority``."""
        kind = SETS[self.data_set].kind
        if kind != "trained":
            return kind
        return "clean" if self.condition == OWN else "planted"

    @property
    def has_real_weak_labels(self) -> bool:
        """Whether people or rules labelled U. A trained model's own errors are another matter."""
        return self.kind == "weak" and SETS[self.data_set].labels_of != "model"

    def points_over(self, arm: str, *, of: str = DEFAULT) -> float:
        """Mean accuracy of an arm less that of another, in points."""
        return 100 * (self.arms[of].mean["accuracy"] - self.arms[arm].mean["accuracy"])

    @property
    def recovered(self) -> float | None:
        """Share of the gap between uniform and oracle that the default closes; None where there is hardly a gap."""
        gap = self.points_over(UNIFORM, of=ORACLE)
        return self.points_over(UNIFORM) / gap if gap >= _LEAST_GAP else None


@dataclass(frozen=True)
class Duel:
    """The default against another arm over all noisy conditions and seeds."""

    arm: str
    points: float
    p_value: float
    conditions_won: int
    conditions: int


def by_condition(cells: Sequence[Cell]) -> list[ConditionSummary]:
    """Means over seeds, in the order of the data sets."""
    grouped: dict[tuple[str, str], dict[str, list[Cell]]] = {}
    for cell in cells:
        grouped.setdefault((cell.data_set, cell.condition), {}).setdefault(cell.arm, []).append(cell)
    order = list(SETS)
    return [
        ConditionSummary(data_set, condition, {arm: _arm(of_arm) for arm, of_arm in arms.items()})
        for (data_set, condition), arms in sorted(grouped.items(), key=lambda item: order.index(item[0][0]))
    ]


def _arm(cells: Sequence[Cell]) -> ArmSummary:
    ordered = sorted(cells, key=lambda cell: cell.seed)
    values = {
        name: [float(cell.measures[name]) for cell in ordered if cell.measures.get(name) is not None]
        for name in _AVERAGED
    }
    return ArmSummary(
        ordered[0].data_set,
        ordered[0].condition,
        ordered[0].arm,
        mean={name: float(np.mean(seeds)) for name, seeds in values.items() if seeds},
        worst_seed={name: worst(values[name]) for name, worst in _WORST.items() if values[name]},
        accuracies=tuple(values["accuracy"]),
        worst_classes=tuple(values["worst_class"]),
    )


def noisy(conditions: Sequence[ConditionSummary]) -> list[ConditionSummary]:
    """Those with planted corruption or real wrong labels."""
    return [condition for condition in conditions if condition.kind in ("planted", "weak")]


def duels(conditions: Sequence[ConditionSummary]) -> list[Duel]:
    """The default against uniform, each rival, its own two signals, and uniform that trains on held-out labels as well.

    The p-value is that of a sign-flip permutation test over pairs of equal condition and seed.
    """
    return [_duel(arm, noisy(conditions)) for arm in (UNIFORM, *RIVALS, *PARTS, MORE_LABELS)]


def _duel(arm: str, conditions: Sequence[ConditionSummary]) -> Duel:
    both = [condition for condition in conditions if arm in condition.arms and DEFAULT in condition.arms]
    differences = np.array(
        [
            ours - theirs
            for condition in both
            for ours, theirs in zip(condition.arms[DEFAULT].accuracies, condition.arms[arm].accuracies, strict=True)
        ]
    )
    points = [condition.points_over(arm) for condition in both]
    return Duel(
        arm,
        float(np.mean(points)) if points else 0.0,
        paired_p_value(differences, seed=0),
        sum(value > 0 for value in points),
        len(points),
    )


def figures(conditions: Sequence[ConditionSummary], cells: Sequence[Cell], truth: dict[str, float]) -> dict[str, float]:
    """The named figures; one whose cells are missing is left out."""
    found: dict[str, float] = {}
    planted = [condition for condition in conditions if condition.kind == "planted"]
    gap = sum(condition.points_over(UNIFORM, of=ORACLE) for condition in planted)
    if gap > 0:
        found["oracle_gap_recovered_noisy"] = sum(condition.points_over(UNIFORM) for condition in planted) / gap
    found["worst_condition_minus_uniform_points"] = min(condition.points_over(UNIFORM) for condition in conditions)
    beaten = [duel.points > 0 for duel in duels(conditions) if duel.arm in (UNIFORM, *RIVALS)]
    found["rivals_beaten_share"] = sum(beaten) / len(beaten)
    ours = [cell.measures for cell in cells if cell.arm == DEFAULT]
    found["overhead_ratio"] = sum(cell["weighing_seconds"] for cell in ours) / sum(
        cell["train_seconds"] for cell in ours
    )
    weak = [condition.points_over(UNIFORM) for condition in conditions if condition.has_real_weak_labels]
    if weak:
        found["real_weak_minus_uniform_points_min"] = min(weak)
    minority = [weight for cell in cells if (weight := minority_weight(cell)) is not None]
    if minority:
        found["minority_clean_weight"] = float(np.mean(minority))
    return found | truth


def minority_weight(cell: Cell) -> float | None:
    """Mean weight of the rightly labelled rows of the class that was cut to a quarter."""
    if SETS[cell.data_set].kind != "minority" or cell.arm != DEFAULT:
        return None
    by_class: list[float | None] = cell.measures["clean_weight_by_class"]
    return by_class[minority_class(cell.seed, len(by_class))]


def minority_holds(condition: ConditionSummary) -> bool:
    """Is worst-class accuracy not below uniform's 95 % interval (Student's t over the seeds)?"""
    uniform = np.array(condition.arms[UNIFORM].worst_classes)
    error = float(uniform.std(ddof=1)) / len(uniform) ** 0.5 if len(uniform) > 1 else 0.0
    low = float(uniform.mean()) - float(student_t.ppf(0.975, max(len(uniform) - 1, 1))) * error
    return condition.arms[DEFAULT].mean["worst_class"] >= low

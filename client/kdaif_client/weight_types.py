"""What a job says of the weights of its samples, and what a person says to them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime

__all__ = [
    "ColumnSummary",
    "Difference",
    "NameSummary",
    "Override",
    "OverrideRevision",
    "Provenance",
    "SampleWeight",
    "WeightChange",
    "WeightSummary",
]

_SHOWN = 5
# The server cuts a teacher's logits at this.
_MOST_SURE = 4.0


@dataclass(frozen=True)
class SampleWeight:
    """The weight of one unlabelled sample in one round, and what it was made of.

    ``val_loss_change_if_upweighted`` is negative when the sample helps and positive when it harms. ``truth`` is
    ``None`` when the data has none. ``weight_override`` is what a person gave the sample, and then its weight.
    ``groups`` holds the names of its ``group_`` columns.
    """

    id: str
    round: int
    weight: float
    val_loss_change_if_upweighted: float
    stderr: float
    z_influence: float
    z_agreement: float
    log_odds: float
    pseudo_label: str
    teacher_confidence: float
    student_label: str
    student_confidence: float
    distillation_loss: float
    truth: str | None = None
    weight_override: float | None = None
    groups: dict[str, str | None] = field(default_factory=dict)

    def __str__(self) -> str:
        change = self.val_loss_change_if_upweighted
        effect = "harms" if change > 0 else "helps" if change < 0 else "neutral"
        truth = f", truth {self.truth}" if self.truth is not None else ""
        return (
            f"{self.id}  weight {self.weight:.3f}  {effect} {change:+.3g} ± {self.stderr:.2g}  "
            f"teacher {self.pseudo_label} ({self.teacher_confidence:.0%}), "
            f"student {self.student_label} ({self.student_confidence:.0%}){truth}"
        )


@dataclass(frozen=True)
class ColumnSummary:
    """A column of numbers: its mean, its values at 0, 1, 5, 25, 50, 75, 95, 99 and 100 %, and a histogram.

    ``edges`` are those of the bins of ``counts``, one more; the first and the last bin hold the tails.
    """

    column: str
    mean: float
    quantiles: tuple[float, ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class NameSummary:
    """The samples of one class (by pseudo-label; ``column`` is empty) or of one name in a group column.

    ``low_weight_share`` is the share of them that weighs under 0.2.
    """

    column: str
    name: str
    rows: int
    mean_weight: float
    mean_val_loss_change_if_upweighted: float
    low_weight_share: float


@dataclass(frozen=True)
class Provenance:
    """What made the weights of a round: which attempt of which job, the solver of the influences, and its damping.

    ``teacher_trust`` is what the teacher's own confidence proved to be worth, 0 to 1: the slope by which its logit of a
    pseudo-label adds to ``z_agreement``, from ``least_sureness`` on. ``None`` where nobody measured it.
    """

    job: str
    attempt: int
    round: int
    blocks: int
    solver: str
    damping: float
    seed: int
    version: str
    teacher_trust: float | None = None
    least_sureness: float | None = None

    def trust_in(self, teacher_confidence: float) -> float | None:
        """What the teacher's confidence in a pseudo-label, 0 to 1, adds to its ``z_agreement``; None where unknown."""
        if self.teacher_trust is None or self.least_sureness is None:
            return None
        p = min(max(teacher_confidence, 1e-9), 1 - 1e-9)
        sureness = math.log(p) - math.log1p(-p)
        return self.teacher_trust * (max(-_MOST_SURE, min(_MOST_SURE, sureness)) - self.least_sureness)


@dataclass(frozen=True)
class WeightSummary:
    """A round at a glance.

    ``effective_sample_size`` is how many equally weighted samples these are worth. ``reliability`` is the rank
    correlation of the influences of two halves of the score set: near 0, influence is luck.
    """

    round: int
    rows: int
    effective_sample_size: float
    reliability: float | None
    columns: dict[str, ColumnSummary]
    classes: tuple[NameSummary, ...]
    groups: tuple[NameSummary, ...]
    provenance: Provenance | None


@dataclass(frozen=True)
class WeightChange:
    """A sample that weighs something else, or has another pseudo-label, in a second job."""

    id: str
    first: float
    second: float
    first_label: str
    second_label: str


@dataclass(frozen=True)
class Difference:
    """What a second job, such as a re-run with overrides, has that a first one has not.

    ``accuracy`` holds by arm the second job's less the first's, of the arms that both have; ``changes`` the samples
    that both weigh and that changed, the largest change of weight first. ``shared`` samples are weighed by both.
    """

    accuracy: dict[str, float]
    shared: int
    changes: tuple[WeightChange, ...]

    def __str__(self) -> str:
        arms = ", ".join(f"{arm} {100 * gain:+.1f} points" for arm, gain in self.accuracy.items())
        lines = [
            f"Accuracy, second less first: {arms or 'no arm in common'}.",
            f"{len(self.changes):,} of {self.shared:,} samples in both jobs changed.",
        ]
        for each in self.changes[:_SHOWN]:
            label = (
                each.first_label
                if each.first_label == each.second_label
                else f"{each.first_label} to {each.second_label}"
            )
            lines.append(f"  {each.id}: weight {each.first:.4f} to {each.second:.4f}, {label}")
        return "\n".join([*lines, "  ..."] if len(self.changes) > _SHOWN else lines)


@dataclass(frozen=True)
class Override:
    """A person's decision on one sample: ``pin``, ``ban``, ``relabel`` or ``clear``.

    ``weight`` is that of a pin, ``class_name`` that of a relabelled sample.
    """

    id: str
    decision: str
    weight: float | None = None
    class_name: str | None = None


@dataclass(frozen=True)
class OverrideRevision:
    """Decisions that were made together, by whom and why."""

    revision: int
    author: str
    reason: str
    time: datetime | None
    overrides: tuple[Override, ...]

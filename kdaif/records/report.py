"""What a finished job found: the arms, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from kdaif.records.monitoring import Alarm, GroupAccuracy, GroupWeight, Scorecard


@dataclass(frozen=True)
class ArmResult:
    """One way of training the student, on the same rows, steps and seeds as the others; figures on the test rows.

    ``ece`` is the expected calibration error at temperature 1, mean over seeds.
    """

    arm: str
    accuracy: float
    macro_f1: float
    accuracy_per_seed: tuple[float, ...]
    accuracy_minus_uniform: float | None = None
    p_value: float | None = None
    size_kb: float | None = None
    ms_per_row: float | None = None
    ece: float | None = None


@dataclass(frozen=True)
class Calibration:
    """The temperature of the shipped student, and what it did to its calibration.

    Attributes:
        temperature: the logits are divided by it before the softmax of the file's ``probabilities``; 1 changes nothing.
        gate_rows: rows that it was fitted on.
        ece_before: expected calibration error on the test rows without it, ``ece_after`` with it; 0 to 1.
    """

    temperature: float
    gate_rows: int
    ece_before: float
    ece_after: float


@dataclass(frozen=True)
class Shift:
    """How far two parts of the data lie apart, and how far two samples of one distribution would lie by chance.

    Attributes:
        first: name of a part, ``second`` of the other.
        features: mean over the inputs of the absolute standardised difference of means, 0 to 2.
        features_by_chance: what ``features`` would be on average, were both parts drawn from one distribution.
        classes: total variation distance of the class shares, 0 to 1; of pseudo-labels where there are no labels.
        classes_by_chance: the same of ``classes``.
        words: what this amounts to, in plain words.
    """

    first: str
    second: str
    features: float
    features_by_chance: float
    classes: float
    classes_by_chance: float
    words: str


@dataclass(frozen=True)
class CanaryCheck:
    """Whether weights found labels that were planted wrong.

    Attributes:
        bar: ``spec.weighting.canary_bar``.
        flipped: canaries with a wrong pseudo-label, ``kept`` with a right one.
        auroc: probability that a flipped canary weighs less than a kept one, ties counting half; None where the check
            was skipped.
        stderr: of it.
        skipped: why it was skipped; empty where it was not.
    """

    bar: float
    flipped: int
    kept: int
    auroc: float | None = None
    stderr: float | None = None
    skipped: str = ""

    @property
    def failed(self) -> bool:
        """Under the bar by more than one standard error."""
        return self.auroc is not None and self.stderr is not None and self.auroc + self.stderr < self.bar

    def metrics(self) -> dict[str, float]:
        """The figures by the names of an event's metrics; none where the check was skipped."""
        figures = {"canary_auroc": self.auroc, "canary_stderr": self.stderr}
        return {name: value for name, value in figures.items() if value is not None}


@dataclass(frozen=True)
class JobResult:
    """The summary that the job record carries; the bundle of ``attempt`` holds the whole report.

    ``external_arms`` and ``external_verdict`` repeat the comparison on the external rows; empty where none were given.
    ``shipped_arm`` is the arm of the student in the bundle; empty in results from before it was kept. ``canary`` says
    in a sentence what the canary check found, with its figures beside it; empty where it was off. ``alarms`` are what a
    person should look at, ``groups`` the shipped student's accuracy by group, ``group_weights`` those of the last
    scoring.
    """

    attempt: int
    arms: tuple[ArmResult, ...]
    verdict: str
    seconds: float
    external_arms: tuple[ArmResult, ...] = ()
    external_verdict: str = ""
    shipped_arm: str = ""
    canary: str = ""
    canary_auroc: float | None = None
    canary_stderr: float | None = None
    alarms: tuple[Alarm, ...] = ()
    groups: tuple[GroupAccuracy, ...] = ()
    group_weights: tuple[GroupWeight, ...] = ()
    scorecard: Scorecard | None = None

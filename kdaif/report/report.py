"""What a report is made of: plain values, gathered by whoever ran the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.records import ArmResult, Calibration, Finding, Shift
from kdaif.records.monitoring import Alarm, GroupAccuracy, GroupWeight, Scorecard
from kdaif.report.facts import Weighed


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Attributes:
        name: of the class.
        labelled: labelled rows it trains on; 0 is possible.
        tested: test rows.
        accuracy: share of its test rows that are right, 0 to 1, by arm; None where there are no test rows.
        interval: 95 % interval of the shipped student's accuracy; None where there is none.
    """

    name: str
    labelled: int
    tested: int
    accuracy: Mapping[str, float | None]
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Report:
    """All values of a report.

    Attributes:
        title: what a person calls the job.
        job: resource name of the job.
        verdict: one sentence; what stands before its first colon becomes the headline.
        arms: on the test rows, in the order to be shown.
        dataset: figures of the data by name, for example ``{"labelled rows": 200}``.
        spec: as it was run, ready for JSON.
        findings: of the check of the data.
        influence_rounds: metrics of each round of the weighted arm: ``round`` and any of ``validation_loss``,
            ``validation_accuracy`` (0 to 1), ``reliability`` (split-half rank correlation) and
            ``effective_sample_size`` (in rows).
        uniform_rounds: the same of the uniform arm.
        weights: of the last round; None where nothing was weighed.
        images: uint8 ``[H, W]`` or ``[H, W, C]`` by row id, for the rows of ``weights.harmful``.
        features: values by column name, by row id, for the same rows when they are no images.
        classes: in the order of the logits.
        certificate: of the exported file, as ``Certificate.to_json()``; None where nothing was exported.
        seconds: spent in each stage, in order.
        influence_overhead: time spent on scores and weights over time spent training the weighted arm; .15 is 15 %.
        external_arms: as ``arms``, on the external rows; empty where there are none.
        external_verdict: one sentence on these.
        shifts: how far the parts of the data lie apart, pair by pair.
        calibration: of the shipped student.
        shipped_arm: the arm whose student was exported.
        canary: one sentence on the canary check; empty where it was off.
        canary_auroc: its figure, 0 to 1, and ``canary_stderr`` the standard error; None where it was off or skipped.
        alarms: what a person should look at.
        groups: the shipped student's accuracy by group.
        group_weights: mean weights by group in the last scoring.
        scorecard: of the shipped student; None where there is none.
    """

    title: str
    job: str
    verdict: str
    arms: Sequence[ArmResult]
    dataset: Mapping[str, int | float | str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    influence_rounds: Sequence[Mapping[str, float]] = ()
    uniform_rounds: Sequence[Mapping[str, float]] = ()
    weights: Weighed | None = None
    images: Mapping[str | int, NDArray[np.uint8]] = field(default_factory=dict)
    features: Mapping[str | int, Mapping[str, float | str]] = field(default_factory=dict)
    classes: Sequence[ClassRow] = ()
    certificate: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    influence_overhead: float | None = None
    external_arms: Sequence[ArmResult] = ()
    external_verdict: str = ""
    shifts: Sequence[Shift] = ()
    calibration: Calibration | None = None
    shipped_arm: str = "influence"
    canary: str = ""
    canary_auroc: float | None = None
    canary_stderr: float | None = None
    alarms: Sequence[Alarm] = ()
    groups: Sequence[GroupAccuracy] = ()
    group_weights: Sequence[GroupWeight] = ()
    scorecard: Scorecard | None = None

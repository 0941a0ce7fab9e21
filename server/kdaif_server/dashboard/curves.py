"""What happened over the rounds, as the charts want it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kdaif.presentation import arm_name
from kdaif.records import JobEvent
from kdaif_server.weights.summary import QUANTILES, ColumnSummary

_FIRST_SEED = "seed 1 of "
_CHARTS = (
    ("validation_accuracy", "Validation accuracy", "share of the rows, %", 100.0),
    ("validation_loss", "Validation loss", "cross-entropy, nats", 1.0),
    ("reliability", "Reliability of influence", "rank correlation of two halves of the validation rows, −1 to 1", 1.0),
    ("effective_sample_size", "Effective sample size", "equally weighted rows, (Σw)² / Σw²", 1.0),
)
_DASHES = {"uniform": [6, 4], "supervised": [2, 3], "oracle": [8, 3, 2, 3]}

Rounds = dict[str, dict[int, Mapping[str, float]]]


@dataclass(frozen=True)
class Series:
    """One line: its name, its class of colour, its dashes, its values by round."""

    name: str
    colour: str
    dash: list[int]
    values: list[float | None]


@dataclass(frozen=True)
class Chart:
    """Lines over the same rounds."""

    key: str
    title: str
    unit: str
    rounds: list[int]
    series: list[Series]


def rounds_of_events(events: Iterable[JobEvent]) -> Rounds:
    """Metrics by arm and round, of the first seed; of a round that was done twice, the last."""
    found: Rounds = {}
    for event in events:
        progress = event.progress
        if event.kind == "round" and progress is not None and progress.message.startswith(_FIRST_SEED):
            found.setdefault(progress.arm, {})[progress.round] = event.metrics
    return found


def rounds_of_report(report: Mapping[str, Any] | None) -> Rounds:
    """The same from the bundle's report, for a job whose events are gone."""
    by_arm: Any = (report or {}).get("rounds", {})
    return {
        arm: {int(metrics["round"]): metrics for metrics in listed if "round" in metrics}
        for arm, listed in by_arm.items()
        if listed
    }


def charts_of(rounds: Rounds) -> list[Chart]:
    """One chart for each figure that some arm has."""
    charts = []
    for key, title, unit, scale in _CHARTS:
        arms = {arm: by_round for arm, by_round in rounds.items() if any(key in each for each in by_round.values())}
        numbers = sorted({number for by_round in arms.values() for number in by_round})
        if numbers:
            series = [
                Series(arm_name(arm), arm, _DASHES.get(arm, []), [_scaled(by_round, n, key, scale) for n in numbers])
                for arm, by_round in arms.items()
            ]
            charts.append(Chart(key, title, unit, numbers, series))
    return charts


def quantile_chart(by_round: Mapping[int, ColumnSummary]) -> Chart:
    """The spread of the weights over the rounds, by the quantiles of a summary."""
    numbers = sorted(number for number, summary in by_round.items() if summary.quantiles)
    shown = (("95 %", 0.95), ("75 %", 0.75), ("median", 0.5), ("25 %", 0.25), ("5 %", 0.05))
    series = [
        Series(
            name,
            "influence" if share == 0.5 else "uniform",
            [] if share == 0.5 else [6, 4] if share in (0.25, 0.75) else [2, 3],
            [by_round[number].quantiles[QUANTILES.index(share)] for number in numbers],
        )
        for name, share in shown
    ]
    return Chart("weights", "Weights", "weight, 1 is that of an average row", numbers, series)


def _scaled(by_round: Mapping[int, Mapping[str, float]], number: int, key: str, scale: float) -> float | None:
    value = by_round.get(number, {}).get(key)
    return None if value is None else value * scale

"""One student on four axes: sustainability, accuracy, fairness, explainability (the SAFE principles of KD-AIF)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdaif.records.monitoring import GroupAccuracy, Scorecard

AXES = ("sustainability", "accuracy", "fairness", "explainability")
EQUAL_SHARES: Mapping[str, float] = dict.fromkeys(AXES, 0.25)
# A student of so many kilobytes and milliseconds per row has half of the score.
_HALF_KB = 1_000.0
_HALF_MS = 1.0


def scorecard(
    figures: Mapping[str, float | None],
    groups: Sequence[GroupAccuracy] = (),
    *,
    fewest_group_rows: int = 30,
    shares: Mapping[str, float] = EQUAL_SHARES,
    notes: Sequence[str] = (),
) -> Scorecard:
    """Scores from 0 to 1; an axis without any figure has none, and the composite then is of the others.

    - sustainability: mean of 1 / (1 + size / 1 MB) and 1 / (1 + time per row / 1 ms).
    - accuracy: mean of macro F1 and 1 - ECE.
    - fairness: accuracy on the worst group over that on the best one, over all group columns; groups with fewer test
      rows than ``fewest_group_rows`` have no say.
    - explainability: mean of the reliability of influence, 2 AUROC - 1 of the canary check, and the rank correlation of
      the weights of the last two scorings, each cut at 0.

    Args:
        figures: by name: ``size_kb``, ``ms_per_row``, ``cpu_s``, ``gpu_s``, ``energy_j``, ``macro_f1``, ``ece``,
            ``accuracy_minus_uniform``, ``reliability``, ``canary_auroc``, ``stability``; None where unknown.
        groups: of the shipped student.
        fewest_group_rows: with a say.
        shares: of the axes in the composite, of which only the proportions count; an axis without one has no say.
        notes: which figures could not be read, and why.
    """
    known = {name: float(value) for name, value in figures.items() if value is not None}
    judged = [group for group in groups if group.rows >= fewest_group_rows]
    columns = {group.column for group in judged}
    ratios = []
    for column in columns:
        accuracies = [group.accuracy for group in judged if group.column == column]
        if len(accuracies) > 1 and max(accuracies) > 0:
            ratios.append(min(accuracies) / max(accuracies))
            known[f"worst_{column}"], known[f"gap_{column}"] = min(accuracies), max(accuracies) - min(accuracies)
    axes = {
        "sustainability": _mean(
            _halved(known.get("size_kb"), _HALF_KB),
            _halved(known.get("ms_per_row"), _HALF_MS),
        ),
        "accuracy": _mean(known.get("macro_f1"), None if "ece" not in known else 1 - known["ece"]),
        "fairness": min(ratios) if ratios else None,
        "explainability": _mean(
            *(_cut(known.get(name)) for name in ("reliability", "stability")),
            _cut(None if "canary_auroc" not in known else 2 * known["canary_auroc"] - 1),
        ),
    }
    weighed = [(axes[name], shares.get(name, 0.0)) for name in AXES]
    total = sum(share for value, share in weighed if value is not None)
    composite = sum(value * share for value, share in weighed if value is not None) / total if total > 0 else None
    return Scorecard(**axes, composite=composite, shares=dict(shares), figures=known, notes=tuple(notes))


def _halved(value: float | None, half: float) -> float | None:
    return None if value is None else 1 / (1 + value / half)


def _cut(value: float | None) -> float | None:
    return None if value is None else max(0.0, value)


def _mean(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None

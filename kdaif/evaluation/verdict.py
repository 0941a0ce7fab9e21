"""One plain sentence: did the weights help here, by how much, and could it be chance."""

from __future__ import annotations

from collections.abc import Sequence

from kdaif.records import ArmResult

SIGNIFICANCE = 0.05


def verdict(
    results: Sequence[ArmResult],
    *,
    treated: str = "influence",
    baseline: str = "uniform",
    rows: str = "the test rows",
) -> str:
    """Says in one sentence whether influence weighting helped, hurt, or did not help.

    "Helped" and "hurt" are said only where the paired p-value is under 0.05. The share of the oracle gap is
    (treated - uniform) / (oracle - uniform), given where the oracle is ahead of uniform by more than chance. The plain
    supervised student is always named: it says whether distilling was worth it at all.

    Args:
        results: of `compare_arms`.
        treated: name of the weighted arm.
        baseline: name of the arm it is held against.
        rows: what the figures were measured on.

    Returns:
        The sentence, with accuracies in per cent and differences in points.
    """
    arms = {result.arm: result for result in results}
    weighted, uniform = arms.get(treated), arms.get(baseline)
    if weighted is None:
        return _without_weighting(uniform, baseline, rows)
    if uniform is None:
        return (
            f"Whether weighting helped is not known: there is no {baseline} arm to hold it against; "
            f"the weighted student reaches {_percent(weighted.accuracy)} on {rows}."
        )
    points = _points(weighted.accuracy, uniform.accuracy)
    against = f"{_percent(weighted.accuracy)} against {_percent(uniform.accuracy)} with {baseline} weights"
    chance = f"{points}{_p(weighted.p_value)}"
    parts = [f"{_headline(weighted, uniform)}: {against}, {chance}"]
    parts += _oracle_gap(weighted, uniform, arms.get("oracle"))
    parts += _against_supervised(weighted, arms.get("supervised"))
    return "; ".join(parts) + "."


def external_verdict(results: Sequence[ArmResult]) -> str:
    """`verdict` on the external rows, as a sentence that can stand under the one on the test rows."""
    sentence = verdict(results, rows="the external rows")
    return f"On the external set: {sentence[0].lower()}{sentence[1:]}"


def _without_weighting(uniform: ArmResult | None, baseline: str, rows: str) -> str:
    if uniform is None:
        return f"Nothing to compare: no arm could be evaluated on {rows}."
    return f"No weighting was asked for: the {baseline} student reaches {_percent(uniform.accuracy)} on {rows}."


def _headline(weighted: ArmResult, uniform: ArmResult) -> str:
    beyond_chance = weighted.p_value is not None and weighted.p_value < SIGNIFICANCE
    if beyond_chance and weighted.accuracy > uniform.accuracy:
        return "Weighting helped"
    if beyond_chance and weighted.accuracy < uniform.accuracy:
        return "Weighting hurt here"
    if weighted.p_value is None:
        return "Weighting was not tested against chance"
    return (
        "Weighting did not help here beyond chance"
        if weighted.accuracy > uniform.accuracy
        else ("Weighting did not help here")
    )


def _oracle_gap(weighted: ArmResult, uniform: ArmResult, oracle: ArmResult | None) -> list[str]:
    if oracle is None:
        return []
    gap = oracle.accuracy - uniform.accuracy
    if gap <= 0:
        return ["even the oracle, which leaves out every wrong pseudo-label, is not ahead of uniform weights"]
    if oracle.p_value is None or oracle.p_value >= SIGNIFICANCE:
        return [f"the oracle's own lead of {_points(oracle.accuracy, uniform.accuracy)} is within chance"]
    share = (weighted.accuracy - uniform.accuracy) / gap
    if share <= 0:
        return [f"none of the {_points(oracle.accuracy, uniform.accuracy)} to the oracle is recovered"]
    return [f"that is {100 * share:.0f} % of the {_points(oracle.accuracy, uniform.accuracy)} to the oracle"]


def _against_supervised(weighted: ArmResult, supervised: ArmResult | None) -> list[str]:
    if supervised is None:
        return []
    alone = f"training on the labelled rows alone reaches {_percent(supervised.accuracy)}"
    if supervised.accuracy > weighted.accuracy:
        return [f"{alone}, more than any weighting gave"]
    return [f"{alone}, so distilling adds {_points(weighted.accuracy, supervised.accuracy)}"]


def _percent(accuracy: float) -> str:
    return f"{100 * accuracy:.1f} %"


def _points(accuracy: float, baseline: float) -> str:
    points = round(100 * (accuracy - baseline), 1) + 0.0  # the sum turns -0.0 into 0.0
    return f"{points:+.1f} points" if points else "0.0 points"


def _p(p_value: float | None) -> str:
    if p_value is None:
        return ""
    return " (p < 0.001)" if p_value < 0.001 else f" (p = {p_value:.3f})"

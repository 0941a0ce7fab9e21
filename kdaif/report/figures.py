"""Figures as inline SVG that takes its colours and fonts from the page, so one drawing serves light and dark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from kdaif.presentation import numerals
from kdaif.report.facts import INFLUENCE, column, wrong_and_right

# Colours that occur nowhere else, each replaced by a variable of the style sheet once the SVG is written.
_INK, _MUTED, _GRID = "#010203", "#010204", "#010205"
_INFLUENCE, _UNIFORM, _WRONG, _RIGHT = "#010206", "#010207", "#010208", "#010209"
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--line)",
    _INFLUENCE: "var(--influence)",
    _UNIFORM: "var(--uniform)",
    _WRONG: "var(--wrong)",
    _RIGHT: "var(--right)",
}
# Typed loosely because matplotlib types the keys one by one.
_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.unicode_minus": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "xtick.color": _GRID,
    "xtick.labelcolor": _MUTED,
    "ytick.color": _GRID,
    "ytick.labelcolor": _MUTED,
    "ytick.major.size": 0,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
}
_MOST_POINTS = 1500


def weights_histogram(weights: pa.Table) -> str:
    """Share of rows over weight, wrong and right pseudo-labels apart where the truth is known."""
    weight = column(weights, "weight")
    wrong, right = wrong_and_right(weights)
    highest = max(float(weight.max()), 1.0)
    edges = np.linspace(0.0, highest, 31)
    with rc_context(_STYLE):
        figure, axes = _axes()
        for values, colour in _groups(weight, wrong, right):
            share = np.histogram(values, edges)[0] / len(values)
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.22)
            axes.stairs(share, edges, color=colour, linewidth=1.6)
        axes.axvline(1.0, color=_MUTED, linewidth=1.0, linestyle=(0, (2, 3)))
        axes.set_xlim(0.0, highest * 1.01)
        axes.set_ylim(bottom=0.0)
        axes.yaxis.set_major_formatter(FuncFormatter(_percent))
        axes.set_xlabel("weight (1 = as in uniform distillation)")
        axes.set_ylabel("share of the rows")
        return _svg(figure, "histogram")


def influence_scatter(weights: pa.Table) -> tuple[str, int]:
    """Influence against weight for at most 1,500 rows drawn evenly over the ids; also returns how many were drawn."""
    step = -(-weights.num_rows // _MOST_POINTS)
    influence = column(weights, INFLUENCE)[::step]
    weight = column(weights, "weight")[::step]
    wrong, right = (mask[::step] for mask in wrong_and_right(weights))
    finite = np.isfinite(influence)
    # One extreme row would press all others into a line: draw the outermost 1 % at the border.
    reach = float(np.quantile(np.abs(influence[finite]), 0.99)) if finite.any() else 0.0
    reach = reach or 1.0
    unit = numerals.unit_of(reach)
    influence, reach = influence / unit, reach / unit
    with rc_context(_STYLE):
        figure, axes = _axes()
        axes.axvline(0.0, color=_MUTED, linewidth=1.0, linestyle=(0, (2, 3)))
        for mask, colour in ((~(wrong | right), _INFLUENCE), (right, _RIGHT), (wrong, _WRONG)):
            drawn = mask & finite
            axes.scatter(
                np.clip(influence[drawn], -reach, reach), weight[drawn], s=9, color=colour, alpha=0.5, linewidths=0
            )
        axes.set_xlim(-reach * 1.05, reach * 1.05)
        axes.set_ylim(bottom=0.0)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_xlabel(f"← helps  ·  {_in_units('influence', unit)}  ·  harms →")
        axes.set_ylabel("weight")
        return _svg(figure, "scatter"), int(np.sum(finite))


def curve(
    name: str, influence: Sequence[Mapping[str, float]], uniform: Sequence[Mapping[str, float]], *, percent: bool
) -> str | None:
    """One metric over the rounds for both arms; None where neither arm has it.

    Args:
        name: key of the metric.
        influence: metrics of each round of the weighted arm.
        uniform: the same of the uniform arm.
        percent: the metric is a share, to be shown in per cent.
    """
    series = [(_series(name, uniform), _UNIFORM, (0, (4, 2))), (_series(name, influence), _INFLUENCE, "-")]
    drawn = [(points, colour, style) for points, colour, style in series if points]
    if not drawn:
        return None
    with rc_context(_STYLE):
        figure, axes = _axes(height=2.3)
        for points, colour, style in drawn:
            rounds, values = zip(*points, strict=True)
            axes.plot(rounds, values, color=colour, linestyle=style)
            axes.plot(rounds[-1:], values[-1:], color=colour, marker="o", markersize=4.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if percent:
            axes.yaxis.set_major_formatter(FuncFormatter(_percent))
        axes.margins(x=0.04, y=0.12)
        axes.set_xlabel("round")
        return _svg(figure, f"curve-{name}")


def _percent(share: float, _position: int | None = None) -> str:
    return f"{round(100 * share, 6):g} %"


def _in_units(name: str, unit: float) -> str:
    return name if unit == 1.0 else f"{name}, in units of {numerals.power(unit)}"


def _series(name: str, rounds: Sequence[Mapping[str, float]]) -> list[tuple[float, float]]:
    values = [(metrics["round"], metrics[name]) for metrics in rounds if name in metrics]
    return [(number, value) for number, value in values if value is not None and np.isfinite(value)]


def _groups(
    weight: NDArray[np.float64], wrong: NDArray[np.bool_], right: NDArray[np.bool_]
) -> list[tuple[NDArray[np.float64], str]]:
    if not (wrong | right).any():
        return [(weight, _INFLUENCE)]
    return [(weight[mask], colour) for mask, colour in ((right, _RIGHT), (wrong, _WRONG)) if mask.any()]


def _axes(height: float = 3.0) -> tuple[Figure, Axes]:
    # A figure without pyplot, which would keep it alive and look for a display.
    figure = Figure(figsize=(5.3, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure, name: str) -> str:
    stream = StringIO()
    # The salt makes the drawing's ids the same on every run and different from those of the page's other drawings.
    with rc_context({"svg.hashsalt": name}):
        metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(stream, format="svg", transparent=True, metadata=metadata)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 xmlns:xlink="http://www.w3.org/1999/xlink">', text)
    return _without_unused_ids(text)


def _without_unused_ids(text: str) -> str:
    """Keeps only the ids that something in the drawing refers to: "axes_1" would be in every drawing of the page."""
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
    return re.sub(r' id="([^"]*)"', lambda match: match.group(0) if match.group(1) in used else "", text)

"""Small drawings as SVG, made of numbers alone; colours come from classes of the style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

_WIDTH, _HEIGHT = 600, 160


def bar(share: float, kind: str = "") -> Markup:
    """A bar of ``share`` of the whole width, 0 to 1."""
    width = 100 * min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    return _svg(
        "bar",
        "0 0 100 8",
        f'<rect class="track" width="100" height="8" rx="1"/><rect class="fill {_word(kind)}" width="{width:.2f}" '
        'height="8" rx="1"/>',
        stretched=True,
    )


def balance(value: float | None, reach: float) -> Markup:
    """A bar to the right of the middle for positive values, to the left for negative ones."""
    if value is None or not math.isfinite(value) or reach <= 0:
        value, reach = 0.0, 1.0
    length = 50 * min(abs(value) / reach, 1.0)
    start = 50.0 if value >= 0 else 50.0 - length
    return _svg(
        "bar",
        "0 0 100 8",
        f'<rect class="track" width="100" height="8" rx="1"/><rect class="fill" x="{start:.2f}" '
        f'width="{length:.2f}" height="8"/><rect class="middle" x="49.75" width=".5" height="8"/>',
        stretched=True,
    )


def histogram(edges: Sequence[float], counts: Sequence[int], *, split: float | None = None) -> Markup:
    """Bars of equal width, one a bin: the outermost hold the tails. Those above ``split`` are of another colour."""
    if not counts:
        return Markup("")
    most, width = max(counts) or 1, _WIDTH / len(counts)
    bars = []
    for place, count in enumerate(counts):
        height = (_HEIGHT - 4) * count / most
        side = "" if split is None else "positive" if (edges[place] + edges[place + 1]) / 2 > split else "negative"
        bars.append(
            f'<rect class="fill {side}" x="{place * width + 0.75:.2f}" y="{_HEIGHT - height:.2f}" '
            f'width="{width - 1.5:.2f}" height="{height:.2f}"/>'
        )
    base = f'<rect class="base" y="{_HEIGHT - 0.5}" width="{_WIDTH}" height="1"/>'
    return _svg("histogram", f"0 0 {_WIDTH} {_HEIGHT}", "".join(bars) + base, stretched=True)


def sparkline(values: Sequence[float | None]) -> Markup:
    """A line through weights, with a dot at each, over a rule at 1; from 0 to the largest, or to 1."""
    top = max([1.0, *(value for value in values if value is not None and math.isfinite(value))])
    step = (_WIDTH - 16) / max(1, len(values) - 1)
    points = [
        (8 + place * step, 112 - 104 * value / top)
        for place, value in enumerate(values)
        if value is not None and math.isfinite(value)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in points)
    rule = f'<path class="rule" d="M0 {112 - 104 / top:.1f}H{_WIDTH}"/>'
    return _svg("spark", f"0 0 {_WIDTH} 120", f'{rule}<polyline class="line" points="{line}"/>{dots}')


def _svg(kind: str, box: str, inside: str, *, stretched: bool = False) -> Markup:
    ratio = ' preserveAspectRatio="none"' if stretched else ""
    # Numbers and words of ours only.
    return Markup(f'<svg class="{kind}" viewBox="{box}"{ratio} aria-hidden="true">{inside}</svg>')  # noqa: S704


def _word(kind: str) -> str:
    return kind if kind.isalpha() else ""

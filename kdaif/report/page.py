"""The page: what each part of the template shows."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from kdaif.presentation import data_uri, environment, numerals
from kdaif.records import Finding, Severity
from kdaif.report.facts import INFLUENCE, Weighed
from kdaif.report.figures import curve, influence_scatter, weights_histogram
from kdaif.report.report import ClassRow, Report

_CURVES = (
    ("validation_loss", "Validation loss", "cross-entropy, nats", False),
    ("validation_accuracy", "Validation accuracy", "share of the rows", True),
    (
        "reliability",
        "Reliability of influence",
        "rank correlation of two halves of the validation rows, −1 to 1",
        False,
    ),
    ("kept_share", "Kept share", "mean of both factors of the weight, 0 to 1, before it is scaled to mean 1", False),
    ("effective_sample_size", "Effective sample size", "equally weighted rows, (Σw)² / Σw²", False),
)
_MOST_FEATURES = 6
_SEVERITIES = (Severity.ERROR, Severity.WARNING, Severity.INFO)  # the worst first


def render(report: Report) -> str:
    """The page as HTML. Everything that comes from a user is escaped by the template engine."""
    pages = environment("kdaif.report", "template")
    pages.filters["unbroken"] = _unbroken
    headline, _, detail = report.verdict.partition(": ")
    return pages.get_template("report.html").render(
        report=report,
        headline=headline,
        detail=detail[:1].upper() + detail[1:],
        style=_style(pages),
        weights=_weights(report.weights),
        trust=_teacher_trust(report),
        curves=_curves(report),
        class_arms=_class_arms(report),
        worst=_worst(report.classes, report.shipped_arm),
        samples=_samples(report),
        findings=sorted(report.findings, key=lambda finding: _SEVERITIES.index(finding.severity)),
        finding_ids=_finding_ids,
        spec=json.dumps(report.spec, ensure_ascii=False, indent=2, default=str),
    )


def _unbroken(text: str) -> str:
    """The text with its units kept on the line of their numbers, and true minus signs."""
    return re.sub(r"(?<!\S)-(?=\d)", "−", re.sub(r"(?<=\d) (?=%|points)", "\u00a0", text))


def _style(pages: Environment) -> Markup:
    # The style sheet is a file of this package, so it needs no escaping.
    return Markup(pages.get_template("report.css").render())  # noqa: S704


def _weights(weights: Weighed | None) -> dict[str, Any] | None:
    if weights is None:
        return None
    scatter, drawn = influence_scatter(weights.drawn)
    # Drawings are made here from numbers and fixed words only.
    return {
        "facts": weights.facts,
        "histogram": Markup(weights_histogram(weights.drawn)),  # noqa: S704
        "scatter": Markup(scatter),  # noqa: S704
        "drawn": drawn,
    }


def _teacher_trust(report: Report) -> float | None:
    """Of the last scoring that tells it."""
    told = [metrics["teacher_trust"] for metrics in report.influence_rounds if "teacher_trust" in metrics]
    return told[-1] if told else None


def _curves(report: Report) -> list[dict[str, Any]]:
    curves = []
    for name, title, unit, percent in _CURVES:
        drawing = curve(name, report.influence_rounds, report.uniform_rounds, percent=percent)
        if drawing is not None:
            curves.append({"title": title, "unit": unit, "drawing": Markup(drawing)})  # noqa: S704
    return curves


def _class_arms(report: Report) -> list[str]:
    return [item.arm for item in report.arms if any(item.arm in row.accuracy for row in report.classes)]


def _worst(classes: Sequence[ClassRow], arm: str) -> ClassRow | None:
    """The class that the shipped student gets right least often."""
    scored = [row for row in classes if row.accuracy.get(arm) is not None]
    return min(scored, key=lambda row: row.accuracy[arm] or 0.0, default=None)


def _samples(report: Report) -> list[dict[str, Any]]:
    if report.weights is None:
        return []
    rows = report.weights.harmful
    unit = numerals.unit_of(rows[0][INFLUENCE]) if rows else 1.0
    samples = []
    for row in rows:
        image = report.images.get(row["id"])
        features = report.features.get(row["id"], {})
        samples.append(
            row
            | {
                "influence": row[INFLUENCE] / unit,
                "influence_error": None if row["stderr"] is None else row["stderr"] / unit,
                "unit": numerals.power(unit) if unit < 1 else "",
                "image": None if image is None else data_uri(image),
                "features": list(features.items())[:_MOST_FEATURES],
                "more_features": max(0, len(features) - _MOST_FEATURES),
            }
        )
    return samples


def _finding_ids(finding: Finding) -> str:
    return ", ".join(finding.ids[:10]) + (", …" if finding.row_count > len(finding.ids) else "")

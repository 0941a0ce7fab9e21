"""report.html and report.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdaif.report.report import Report

FORMAT_VERSION = 1


def write_report(folder: Path, report: Report) -> None:
    """Writes ``report.html``, one self-contained page without scripts, and ``report.json`` with the same figures.

    Equal reports give equal bytes. NaN and infinity are null in the JSON and a dash on the page.

    Args:
        folder: exists; both files are written or replaced.
        report: all values.
    """
    (folder / "report.json").write_text(
        json.dumps(_figures(report), allow_nan=False, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
    )
    # Imported late, as matplotlib comes with it: a training child writes its report last.
    from kdaif.report.page import render

    (folder / "report.html").write_text(render(report), encoding="utf-8")


def _figures(report: Report) -> dict[str, Any]:
    weights = report.weights
    figures = {
        "format_version": FORMAT_VERSION,
        "title": report.title,
        "job": report.job,
        "verdict": report.verdict,
        "arms": report.arms,
        "external": {"arms": report.external_arms, "verdict": report.external_verdict},
        "shifts": report.shifts,
        "shipped_arm": report.shipped_arm,
        "canary": {
            "sentence": report.canary,
            "canary_auroc": report.canary_auroc,
            "canary_stderr": report.canary_stderr,
        },
        "alarms": report.alarms,
        "groups": {"accuracy": report.groups, "weights": report.group_weights},
        "scorecard": report.scorecard,
        "calibration": report.calibration,
        "dataset": report.dataset,
        "weights": None if weights is None else weights.facts,
        "rounds": {"influence": report.influence_rounds, "uniform": report.uniform_rounds},
        "classes": report.classes,
        "most_harmful": [] if weights is None else weights.harmful,
        "findings": report.findings,
        "certificate": report.certificate,
        "seconds": report.seconds,
        "influence_overhead": report.influence_overhead,
        "spec": report.spec,
    }
    plain: dict[str, Any] = _plain(figures)
    return plain


def _plain(value: Any) -> Any:
    """The value in the types of JSON."""
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value

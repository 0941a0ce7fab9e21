"""Alarms, groups and the scorecard in the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from kdaif.records.monitoring import Alarm, AlarmCode, GroupAccuracy, GroupWeight, Scorecard
from kdaif.report import write_report
from tests.kdaif.report.test_report import ATTACK, full_report

_SHARES = dict.fromkeys(("sustainability", "accuracy", "fairness", "explainability"), 0.25)


def test_alarms_groups_and_scorecard_are_on_the_page_and_in_the_figures(tmp_path: Path) -> None:
    alarm = Alarm(AlarmCode.GROUP_FLOOR, "group_sex = F", f"the rows of {ATTACK} weigh 0.41", 0.41, 0.8, 2)
    report = replace(
        full_report(),
        alarms=(alarm,),
        group_weights=(
            GroupWeight("group_sex", "F", 312, 0.41, 0.36, 0.46, "low", 0.61, 0.12),
            GroupWeight("group_sex", ATTACK, 8, 0.2, 0.1, 0.3, "few"),
        ),
        groups=(GroupAccuracy("group_sex", "F", 700, 0.81, 0.78, 0.84, 0.79, 0.76),),
        scorecard=Scorecard(0.88, 0.84, None, 0.5, 0.74, _SHARES, {"cpu_s": 41.2}),
    )
    write_report(tmp_path, report)
    html = (tmp_path / "report.html").read_text()
    assert ATTACK not in html
    for shown in ("GROUP_FLOOR", "under its floor", "too few rows for a verdict", "0.36 to 0.46", "CPU time", "0.74"):
        assert shown in html, shown
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures["alarms"][0] | {"message": ""} == {
        "code": "GROUP_FLOOR",
        "subject": "group_sex = F",
        "message": "",
        "value": 0.41,
        "bar": 0.8,
        "round": 2,
    }
    assert figures["scorecard"]["fairness"] is None
    assert figures["groups"]["weights"][0]["verdict"] == "low"


def test_a_report_without_them_has_no_empty_sections(tmp_path: Path) -> None:
    write_report(tmp_path, full_report())
    html = (tmp_path / "report.html").read_text()
    assert 'id="groups"' not in html
    assert 'id="scorecard"' not in html
    assert 'id="alarms"' not in html

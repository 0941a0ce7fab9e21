from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.audit_dependencies import _licence_to_accept, audit

ROOT = Path(__file__).parents[2]


def test_every_pin_is_accepted() -> None:
    ended = subprocess.run(
        [sys.executable, "tools/audit_dependencies.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_what_is_new_has_changed_or_may_not_be_used_is_told() -> None:
    accepted = {
        "one": {"version": "1", "licence": "MIT"},
        "two": {"version": "1", "licence": "AGPL-3.0"},
        "gone": {"version": "1", "licence": "MIT"},
    }
    assert audit({"one": "1"}, {"one": accepted["one"]}) == []
    told = audit({"one": "2", "two": "1", "new": "1"}, accepted)
    assert [line.split()[0] for line in told] == ["new==1", "one==2", "two==1", "gone"]


def test_what_a_person_allowed_stays_allowed_when_pins_are_accepted_again() -> None:
    assert _licence_to_accept("pytest", "allowed: by me") == "allowed: by me"
    assert _licence_to_accept("pytest", "GPL-3.0") == "MIT"

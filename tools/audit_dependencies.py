"""Fails when a pin in constraints.txt is not in the list of accepted ones, ``docs/dependencies.json``.

Known vulnerabilities are in databases that cannot be reached from everywhere, and an audit that asked nobody finds
nothing. So this one is about changes: a version joins the list when somebody has looked at it. The first list, of
2026-11-28, is a baseline: its licences were read from the packages, and no advisories were looked up for it.
Where PyPI's advisories can be reached: ``pip-audit -r constraints.txt``.

    python tools/audit_dependencies.py            compares; exit code 1 with what to do
    python tools/audit_dependencies.py --accept   writes the pins into the list, after somebody has looked at them
"""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
ACCEPTED = ROOT / "docs" / "dependencies.json"
# Licences that a distribution of this project can be used with. What is not in the list needs a person's word, which
# begins with "allowed".
ALLOWED = re.compile(
    r"Apache|MIT|BSD|ISC|PSF|Python|MPL|Mozilla|HPND|Unlicense|Zlib|CC0|0BSD|FreeType|NVIDIA|LLVM|public domain"
    r"|^allowed",
    re.I,
)


def main() -> int:
    """Entry point."""
    pins = _pins(CONSTRAINTS.read_text())
    accepted = json.loads(ACCEPTED.read_text()) if ACCEPTED.exists() else {}
    if "--accept" in sys.argv[1:]:
        written = {
            name: {"version": version, "licence": _licence_to_accept(name, accepted.get(name, {}).get("licence", ""))}
            for name, version in sorted(pins.items())
        }
        ACCEPTED.write_text(json.dumps(written, indent=1) + "\n")
        return 0
    problems = audit(pins, accepted)
    for problem in problems:
        sys.stderr.write(f"audit: {problem}\n")
    if problems:
        sys.stderr.write("Read the changes and the advisories, then: python tools/audit_dependencies.py --accept\n")
    return 1 if problems else 0


def audit(pins: dict[str, str], accepted: dict[str, dict[str, str]]) -> list[str]:
    """What is wrong, a line each."""
    problems = []
    for name, version in sorted(pins.items()):
        known = accepted.get(name)
        if known is None:
            problems.append(f"{name}=={version} is not accepted yet")
        elif known["version"] != version:
            problems.append(f"{name}=={version} is not accepted; {known['version']} is")
        elif ALLOWED.search(known["licence"]) is None:
            problems.append(f"{name}=={version} has the licence {known['licence']!r}; write in who allowed it")
    problems += [f"{name} is accepted and pinned no more" for name in sorted(accepted.keys() - pins.keys())]
    return problems


def _pins(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement:
            name, _, version = requirement.partition("==")
            found[re.sub(r"[-_.]+", "-", name).lower()] = version
    return found


def _licence_to_accept(name: str, before: str) -> str:
    """What the package says, unless a person allowed it before."""
    return before if before.startswith("allowed") else _licence(name) or before or "unknown"


def _licence(name: str) -> str:
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    classified = [
        line.rsplit(" :: ", 1)[-1] for line in told.get_all("Classifier") or () if line.startswith("License ::")
    ]
    expression = told.get("License-Expression") or ""
    return expression or ", ".join(classified) or (told.get("License") or "").strip().partition("\n")[0][:80]


if __name__ == "__main__":
    sys.exit(main())

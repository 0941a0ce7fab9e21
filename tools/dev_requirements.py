"""Print the `dev` dependency group as a requirements file, for a pip too old to read groups."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

group = tomllib.loads(Path("pyproject.toml").read_text())["dependency-groups"]["dev"]
sys.stdout.writelines(f"{requirement}\n" for requirement in group)

"""Print the requirements of the `dev` dependency group, for a pip too old to read groups."""

from __future__ import annotations

import shlex
import sys
import tomllib
from pathlib import Path

group = tomllib.loads(Path("pyproject.toml").read_text())["dependency-groups"]["dev"]
sys.stdout.write(shlex.join(group) + "\n")

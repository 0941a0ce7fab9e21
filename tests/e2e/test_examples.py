"""Every example runs as its reader would run it, each kind of data and each kind of teacher among them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack

ROOT = Path(__file__).parents[2]
NOT_EXAMPLES = {"demo", "local_stack", "example_data", "reflection"}  # two of them have tests of their own
EXAMPLES = sorted({path.stem for path in (ROOT / "examples").glob("*.py")} - NOT_EXAMPLES)
NEED_DATA = set(EXAMPLES) - {"embeddings"}
# Of 77, 10, 2, 2 and 4 classes: far above chance, and under what was measured when the example was written.
LEAST_ACCURACY = {"texts": 40.0, "images": 30.0, "tables": 70.0, "rules": 70.0, "embeddings": 80.0}


def test_examples_are_short_and_all_known() -> None:
    assert set(EXAMPLES) == set(LEAST_ACCURACY)
    assert {name: len((ROOT / "examples" / f"{name}.py").read_text().splitlines()) for name in EXAMPLES} == {
        name: pytest.approx(0, abs=59) for name in EXAMPLES
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(stack: Stack, name: str) -> None:
    if name in NEED_DATA and not os.environ.get("KDAIF_DATA"):
        pytest.skip("KDAIF_DATA is not set: the example's data set is not here")
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{name}"],
        cwd=ROOT,
        env=os.environ | {"KDAIF_TARGET": stack.target, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    accuracy = float(re.search(r"^influence +([\d.]+) %", done.stdout, re.MULTILINE)[1])
    assert accuracy > LEAST_ACCURACY[name], done.stdout
    if name == "texts":
        assert int(re.search(r"^Model: (\d+) KB", done.stdout, re.MULTILINE)[1]) < 2000

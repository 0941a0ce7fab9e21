"""The README's example runs as it stands, but for the port."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.e2e.conftest import Stack

README = Path(__file__).parents[2] / "README.md"


def test_the_example_in_the_readme_runs(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(code.strip().splitlines()) <= 15
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 5)) * 3

    def table(rows: int, first: int) -> tuple[pd.DataFrame, np.ndarray]:
        classes = rng.integers(0, 3, rows)
        frame = pd.DataFrame(centres[classes] + rng.normal(size=(rows, 5)), columns=list("abcde"))
        frame.insert(0, "id", range(first, first + rows))
        return frame, np.array(["cat", "dog", "owl"])[classes]

    labeled_df, labels = table(150, 0)
    labeled_df["label"] = labels
    pool, _ = table(300, 1000)
    pool.drop(columns="id").to_parquet(tmp_path / "pool.parquet")  # as a newcomer's is: without ids
    fresh, truth = table(100, 5000)
    names = {"labeled_df": labeled_df, "X": fresh.drop(columns="id")}
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("localhost:50051", stack.target), str(README), "exec"), names)  # noqa: S102
    output = capsys.readouterr().out
    assert "SUCCEEDED" in output
    assert output.count("  weight ") == 10
    predicted = names["student"].predict(names["X"])
    assert np.mean(np.asarray(predicted) == truth) > 0.8
    names["kdaif"].close()

"""The README's example runs as it stands, but for the port, and its figures are those of the pages that it names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.e2e.conftest import Stack

README = Path(__file__).parents[2] / "README.md"
HOME = README.parent / "docs" / "index.md"
WEAK = ("trec", "sms", "youtube", "cifar10n_worse", "cifar10n_random", "cifar10_resnet56")


def cells(page: str, first: str) -> list[str]:
    """Of the first line of a table on a page of results whose first cell is this, what follows."""
    lines = (README.parent / "docs" / "results" / f"{page}.md").read_text().splitlines()
    tables = ([each.strip(" `*") for each in line.split("|")[1:-1]] for line in lines if line.startswith("|"))
    return next(rest for head, *rest in tables if head == first)


def test_the_figures_of_the_first_screens_are_those_of_the_pages() -> None:
    jobs, faults = (sum(map(int, cells("chaos", name))) for name in ("jobs acknowledged", "faults injected"))
    over_uniform, worst = (
        float(cells("quality", name)[0]) for name in ("uniform", "worst_condition_minus_uniform_points")
    )
    alone = [
        100 * (float(influence) - float(labels))
        for _, _, labels, _, influence, *_ in (cells("quality", each) for each in WEAK)
    ]
    for text in (README.read_text(), HOME.read_text()):
        (points,) = re.findall(
            r"\[?([\d.]+) points(?:\]\S+)? (?:of accuracy on average|above plain distillation)", text
        )
        assert float(points) == pytest.approx(over_uniform, abs=0.051)
        assert f"at worst {-worst:.1f}" in text
        assert f"{min(alone):.0f} to {max(alone):.0f} points" in text
        assert f"{faults:,} faults" in text
    text = README.read_text()
    assert f"none of {jobs:,}, under" in text
    mlp, cnn = (float(cells("performance_influence", f"speedup_at_95_{net}")[1]) for net in ("mlp", "cnn"))
    assert f"{mlp:.0f} times (MLP) and {cnn:.0f} times (CNN) fewer" in text
    least, most = map(int, re.findall(r"between (\d+) and (\d+) % more processor time", text)[0])
    for student in ("MLP 128-64", "CNN"):
        assert 1 + least / 100 <= float(cells("performance", student)[3]) <= 1 + most / 100


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

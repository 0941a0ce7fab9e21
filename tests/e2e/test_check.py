"""`kdaif check` against a real server: a table, the rejected rows, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_client import cli
from typer.testing import CliRunner, Result

from tests.e2e.conftest import Stack

RNG = np.random.default_rng(2)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    labeled, pool = tmp_path / "labeled.parquet", tmp_path / "pool.parquet"
    label = list(np.tile(["cat", "dog", "owl"], 40))
    pq.write_table(pa.table({"id": range(120), "x": RNG.normal(size=120), "label": label}), labeled)
    values = RNG.normal(size=50)
    values[7] = np.inf
    pq.write_table(pa.table({"id": range(50), "x": values}), pool)
    return ["--labeled", str(labeled), "--unlabeled", str(pool)]


def check(stack: Stack, *arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["check", *arguments], env={"KDAIF_TARGET": stack.target, "COLUMNS": "120"})


def test_findings_are_a_table_and_the_rejected_rows_a_file(stack: Stack, files: list[str], tmp_path: Path) -> None:
    result = check(stack, *files)
    assert result.exit_code == 0, result.output
    header, *rows = [line.split("\t") for line in result.stdout.splitlines() if "\t" in line]
    assert header == ["SEVERITY", "CODE", "FIELD", "ROWS", "MESSAGE", "IDS"]
    (bad,) = [row for row in rows if row[1] == "NON_FINITE_FEATURE"]
    assert (bad[0], bad[2], bad[3], bad[5]) == ("WARNING", "spec.unlabeled", "1", "7")
    assert "Of the order of" in result.stdout
    assert "With --rejected FILE the rows that are left out are written" in result.stdout
    result = check(stack, *files, "--rejected", str(tmp_path / "bad.parquet"))
    assert "1 rows rejected; written to" in result.stdout
    (row,) = pq.read_table(tmp_path / "bad.parquet").to_pylist()
    assert (row["id"], row["code"]) == ("7", "NON_FINITE_FEATURE")


def test_json_and_the_exit_code_of_a_refusal(stack: Stack, files: list[str], tmp_path: Path) -> None:
    result = check(stack, *files, "--json")
    assert (result.exit_code, "rejected_rows" in json.loads(result.stdout)) == (0, False)
    rejected = ("--rejected", str(tmp_path / "bad.parquet"))
    document = {"checks": {"max_rejected_share": 0.0}}
    (tmp_path / "spec.json").write_text(json.dumps(document))
    result = check(stack, *files, "--spec", str(tmp_path / "spec.json"), *rejected, "--json")
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert [finding["code"] for finding in told["findings"] if finding["severity"] == "ERROR"] == ["TOO_MANY_REJECTED"]
    assert told["rejected_rows"] == 1


def test_nothing_is_queued_and_a_slip_names_the_command(stack: Stack, files: list[str]) -> None:
    listed = CliRunner().invoke(cli.app, ["jobs", "--json"], env={"KDAIF_TARGET": stack.target}).stdout
    assert check(stack, *files).exit_code == 0
    assert check(stack, *files[:2]).exit_code == 2
    assert "kdaif check --labeled" in check(stack, *files[:2]).stderr
    assert "auto:max_kb=200" in check(stack, *files, "--student", "rnn:3").stderr
    assert CliRunner().invoke(cli.app, ["jobs", "--json"], env={"KDAIF_TARGET": stack.target}).stdout == listed

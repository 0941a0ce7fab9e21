"""The command line in a terminal: tables that can be read and copied, Ctrl-C, and a reader who stops early."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from kdaif_client._cli_audit import _told
from kdaif_client._cli_tables import show_estimate, show_table
from kdaif_client._cli_weight_tables import show_summary
from kdaif_client.types import Estimate, JobEvent, JobState, Progress
from kdaif_client.weight_types import ColumnSummary, WeightSummary
from kdaif_proto.v1 import jobs_pb2 as jb

from tests.client.command import kdaif, succeeded
from tests.client.small_server import SmallServer
from tests.client.small_state import PARENT


def test_in_a_terminal_there_are_tables_and_ctrl_c_leaves_the_job_alone(server: SmallServer) -> None:
    succeeded(server)
    server.state.add_job("j2", jb.JOB_STATE_RUNNING)
    server.state.tell(f"{PARENT}/distillationJobs/j2", "claimed", jb.JOB_STATE_RUNNING)
    program = [str(Path(sys.executable).with_name("kdaif"))]
    env = os.environ | {"KDAIF_TARGET": server.target, "TERM": "xterm", "COLUMNS": "100"}
    main, terminal = pty.openpty()
    subprocess.run([*program, "jobs"], stdout=terminal, stderr=terminal, env=env, check=True)
    table = os.read(main, 65536).decode()
    assert "OUTCOME" in table
    assert "\t" not in table
    assert "\x1b[" in table
    watching = subprocess.Popen([*program, "watch", "j2"], stdout=terminal, stderr=subprocess.PIPE, env=env)
    assert "claimed" in os.read(main, 65536).decode()
    time.sleep(0.1)
    watching.send_signal(signal.SIGINT)
    _, told = watching.communicate(timeout=20)
    assert watching.returncode == 130
    assert b"kdaif cancel j2" in told
    assert b"Traceback" not in told
    os.close(main)
    os.close(terminal)


def test_the_reader_may_stop_early(server: SmallServer) -> None:
    for i in range(3000):
        server.state.add_job(f"j{i:05d}x{'0' * 40}")
    command = f"{Path(sys.executable).with_name('kdaif')} jobs --limit 3000 --json | head -n 1"
    env = os.environ | {"KDAIF_TARGET": server.target}
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    assert np.size(done.stdout) == 1


@pytest.mark.parametrize("columns", [120, 80, 40])
def test_an_id_is_shown_whole_however_narrow_the_terminal(server: SmallServer, columns: int) -> None:
    job = server.state.add_job("01m8j8zd06dj7dpeqht4333b07", jb.JOB_STATE_RUNNING)
    job.display_name = "a name of several words, longer than there is room for"
    env = os.environ | {"KDAIF_TARGET": server.target, "TERM": "dumb", "COLUMNS": str(columns)}
    main, terminal = pty.openpty()
    command = [str(Path(sys.executable).with_name("kdaif")), "jobs"]
    subprocess.run(command, stdout=terminal, stderr=terminal, env=env, check=True)
    table = os.read(main, 65536).decode()
    assert "01m8j8zd06dj7dpeqht4333b07" in table
    assert "RUNNING" in table
    if columns >= 80:
        assert max(map(len, table.splitlines())) <= columns
    os.close(main)
    os.close(terminal)


def test_the_spread_of_weights_has_a_row_for_each_quantile(capsys: pytest.CaptureFixture[str]) -> None:
    quantiles = tuple(1e-7 + place / 3 for place in range(9))
    column = ColumnSummary("val_loss_change_if_upweighted", 1 / 3, quantiles, (), ())
    show_summary(WeightSummary(2, 600, 175.0, 0.8, {column.column: column}, (), (), None))
    told = capsys.readouterr().out.splitlines()
    assert told[1].split("\t") == ["OVER SAMPLES", "VAL_LOSS_CHANGE_IF_UPWEIGHTED"]
    assert told[2].split("\t") == ["mean", "0.3333"]
    assert told[3].split("\t") == ["least", "1e-07"]
    assert told[11].split("\t") == ["most", "2.667"]


@pytest.mark.parametrize(
    ("seconds", "bytes_", "says"),
    [
        (0.2, 650_100_000, "1 seconds and 650 MB of memory"),
        (39, 1_234_000_000, "40 seconds and 1.2 GB of memory"),
        (6900, 90_000, "100 minutes and 90 kB of memory"),
        (7300, 999_600, "2 hours and 1 MB of memory"),
    ],
)
def test_an_estimate_has_the_digits_that_it_knows(
    capsys: pytest.CaptureFixture[str], seconds: float, bytes_: int, says: str
) -> None:
    show_estimate(Estimate(seconds=seconds, memory_bytes=bytes_))
    assert capsys.readouterr().out == f"Of the order of {says}.\n"


def test_decisions_of_the_audit_log_are_told_as_the_options_have_them() -> None:
    decisions = '[{"id": "r1", "decision": "ban"}, {"id": "r2", "decision": "pin", "weight": 2.0}]'
    assert _told("decisions", decisions) == "ban r1, pin r2=2.0"
    assert _told("share", "0.05") == "share 0.05"


def test_a_stage_that_is_an_arm_too_is_named_once() -> None:
    event = JobEvent(6, None, JobState.RUNNING, 1, "canary", Progress("canary", "canary", 1, 2, 0.05, "12 planted"))
    assert re.search(r"canary  canary · round 1/2 · 12 planted \(5%\)", str(event))


@pytest.mark.parametrize("columns", [200, 80])
def test_a_row_too_wide_for_the_terminal_is_a_paragraph(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    headers = (">NUMBER", "SUBJECT", "STUDENT", "TIME", "REASON")
    time = datetime(2020, 11, 9, 4, 21).astimezone()
    row = ("7", "distillationJobs/01m8jr8bzj3vrhfnyd1ycn9xax", "01m8jr8bzj3vrhfnyd1ycn9xax", time, "a smudge")
    show_table(headers, [row, (*row[:3], None, "")], empty="")
    told = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    if columns == 200:
        assert [line.split()[0] for line in told] == ["NUMBER", "7", "7"]
        assert "9 Nov 2020" in told[1]
    else:
        assert told[3:5] == ["TIME     2020-11-09 04:21", "REASON   a smudge"]
        assert len(told) == 5 + 1 + 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("pull", "j1", "--public-key", "key.pem"), "--public-key FILE pull"),
        (("jobs", "--tls"), "--tls jobs"),
        (("alias", "champion", "j1", "--api-key-file=key"), "--api-key-file FILE alias champion"),
    ],
)
def test_an_option_of_kdaif_itself_behind_a_command_is_told_where_it_stands(
    server: SmallServer, arguments: tuple[str, ...], told: str
) -> None:
    result = kdaif(server, *arguments)
    assert result.exit_code == 2
    assert f"it stands before the command: root {told}" in " ".join(result.stderr.replace("│", " ").split())
    unknown = kdaif(server, "jobs", "--nonsense")
    assert (unknown.exit_code, "stands before" in unknown.stderr) == (2, False)

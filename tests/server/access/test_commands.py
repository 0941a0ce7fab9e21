"""``kdaif-server keys`` and ``kdaif``, as people run them; and what of a key is written down anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kdaif_client import Client
from kdaif_client.errors import KdaifClientError, NotFound, PermissionDenied, Unauthenticated
from kdaif_server.access.keys import KeyFile
from kdaif_server.embedded.stack import worker_environment
from kdaif_server.settings import ServerSettings

from kdaif.errors import FailedPreconditionError
from tests.server.serving import serving, submit
from tests.waiting import wait_for


def keys(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kdaif_server", "keys", *arguments, "--data-dir", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == code, ended.stderr
    return ended


def test_the_life_of_a_key(tmp_path: Path) -> None:
    made = keys(tmp_path, "create", "--tenant", "acme", "--scope", "jobs", "--scope", "datasets", "--note", "CI of Ann")
    text = made.stdout.strip()
    key_id = text.split("_")[1]
    assert KeyFile(tmp_path / "access" / "keys.json").caller(text).tenant == "acme"
    listed = keys(tmp_path, "list").stdout
    assert f"{key_id}  active  acme  datasets,jobs" in listed
    assert "CI of Ann" in listed
    assert text.split("_")[2] not in listed
    rotated = keys(tmp_path, "rotate", key_id, "--grace-hours", "0").stdout.strip()
    assert rotated.split("_")[1] == key_id
    assert rotated != text
    assert "revoked" in keys(tmp_path, "revoke", key_id).stdout
    assert "is revoked" in keys(tmp_path, "rotate", key_id, code=1).stderr
    assert "no key" in keys(tmp_path, "revoke", "nosuchkey234", code=1).stderr
    assert "tenant" in keys(tmp_path, "create", "--tenant", "../x", "--scope", "jobs", code=1).stderr


def test_a_file_that_everybody_may_write_or_that_is_broken_lets_nobody_in(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    _, text = file.create("acme", frozenset())
    (tmp_path / "keys.json").chmod(0o666)
    with pytest.raises(FailedPreconditionError, match="chmod o-w"):
        KeyFile(tmp_path / "keys.json").caller(text)
    (tmp_path / "keys.json").chmod(0o600)
    (tmp_path / "keys.json").write_text('{"version": 1, "keys": [{"id": "x"}]}')
    with pytest.raises(FailedPreconditionError, match="no file of API keys"):
        file.caller(text)


def test_no_key_stands_in_a_log_an_error_or_a_file(valkey_url: str, tmp_path: Path) -> None:
    """A server and a client that get everything wrong, and then every byte that they wrote."""
    data, wrong = tmp_path / "data", "kd_aaaaaaaaaaaa_" + "5ec3e7" * 10 + "abcd"
    text = keys(data, "create", "--tenant", "acme", "--scope", "jobs", "--scope", "datasets").stdout.strip()
    secret = text.split("_")[2]
    log, ready = tmp_path / "log", tmp_path / "port"
    command = [
        *(sys.executable, "-m", "kdaif_server", "serve", "--port", "0", "--data-dir", str(data)),
        *("--redis-url", valkey_url, "--reflection"),
    ]
    told: list[str] = []
    with log.open("wb") as out:
        # KDAIF_API_KEY also in the environment of the server, where somebody may have exported it.
        environment = os.environ | {"KDAIF_API_KEY": text, "KDAIF_DASHBOARD": "127.0.0.1:0", "GRPC_VERBOSITY": "debug"}
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
        try:
            wait_for(lambda: "serving" in log.read_text(), timeout_s=60)
            line = next(line for line in log.read_text().splitlines() if "serving" in line)
            ports = [word.rsplit("=", 1)[-1] for word in _plain(line).split() if word.startswith("port=")]
            ready.write_text(ports[0])
            target = f"127.0.0.1:{ports[0]}"
            with Client(target, "acme", api_key=text) as client:
                told.append(repr(client))
                submit(client)
                told += _errors(client)
            with Client(target, "other", api_key=text) as client, pytest.raises(NotFound) as caught:
                list(client.list_datasets())
            told.append(str(caught.value))
            with Client(target, "acme", api_key=wrong) as client, pytest.raises(Unauthenticated) as refused:
                list(client.list_datasets())
            told.append(str(refused.value))
            run = subprocess.run(
                [sys.executable, "-m", "kdaif_client.cli", "--help"], capture_output=True, text=True, check=False
            )
            told.append(run.stdout)
        finally:
            server.terminate()
            server.wait(30)
    written = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert len(written) > 5
    written[Path("told")] = "\n".join(told).encode()
    for shown in (secret, wrong.split("_")[2]):
        assert [file for file, content in written.items() if shown.encode() in content] == []
    (stored,) = json.loads((data / "access" / "keys.json").read_text())["keys"]
    assert stored["sha256"].encode() not in log.read_bytes()


def test_a_traceback_shows_no_values() -> None:
    program = (
        "import structlog\n"
        "from kdaif.telemetry import LogFormat, configure_logs\n"
        "configure_logs(LogFormat.CONSOLE)\n"
        "def check(authorization):\n"
        "    raise ZeroDivisionError('unforeseen')\n"
        "try:\n"
        "    check('Bearer ' + 'kd_se' + 'cret')\n"
        "except ZeroDivisionError as error:\n"
        "    structlog.get_logger().error('unexpected error', exc_info=error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "unforeseen" in ended.stdout
    assert "kd_secret" not in ended.stdout + ended.stderr


def _plain(line: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", line)


def _errors(client: Client) -> list[str]:
    told = []
    for wrong in (
        lambda: client.get_job("0" * 26),
        lambda: next(client.get_job("not a job").watch()),
        lambda: list(client.list_lines()),
        lambda: client.register_dataset("file:///etc/passwd", name="x"),
    ):
        with pytest.raises((KdaifClientError, PermissionDenied)) as caught:
            wrong()
        told += [str(caught.value), repr(caught.value)]
    return told


def test_a_worker_is_given_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KDAIF_API_KEY", "KDAIF_API_KEY_FILE", "KDAIF_TLS_KEY_FILE", "KDAIF_KEYS_FILE", "KDAIF_CLIENT_KEY"):
        monkeypatch.setenv(name, "/secret")
    assert [name for name, value in worker_environment(ServerSettings()).items() if value == "/secret"] == []


def test_the_command_line_shows_the_key_of_a_file(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(
        redis_url=valkey_url, data_dir=tmp_path / "data", port=0, authentication="on", drain_s=0.5
    )
    file = tmp_path / "key"
    file.write_text(keys(tmp_path / "data", "create", "--tenant", "acme", "--scope", "jobs").stdout)
    with serving(settings) as target:
        kdaif = [sys.executable, "-c", "from kdaif_client.cli import main; main()"]
        asked = ["--target", target, "--tenant", "acme", "--json"]

        def run(*before: str, command: str = "jobs") -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*kdaif, *before, command, *asked], capture_output=True, text=True, check=False, timeout=60
            )

        assert run("--api-key-file", str(file)).returncode == 0
        without = run()
        assert without.returncode == 2
        assert "KDAIF_API_KEY" in without.stderr
        forbidden = run("--api-key-file", str(file), command="datasets")
        assert forbidden.returncode == 2
        assert "scope datasets" in forbidden.stderr
        assert "cannot be read" in run("--api-key-file", str(tmp_path / "none")).stderr

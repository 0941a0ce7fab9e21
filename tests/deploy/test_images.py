"""Dockerfile and compose file, as far as they can be checked without an engine."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from kdaif_worker.settings import WorkerSettings

from tools.rehearse_dockerfile import Rehearsal, stages_of

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
STAGES = stages_of(DOCKERFILE)
TARGETS = ("server", "worker-cpu", "worker-cuda", "edge")


def test_the_linter_has_nothing_to_say() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    found = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("target", TARGETS)
def test_no_target_runs_as_root_and_each_says_how_it_is(target: str) -> None:
    steps = STAGES["runtime"].steps + STAGES[target].steps
    assert STAGES[target].base == "runtime"
    assert [rest for verb, rest in steps if verb == "USER"] == ["10001:10001"]
    assert [verb for verb, _ in steps].count("HEALTHCHECK") == 1


def test_no_registry_is_written_down() -> None:
    files = [ROOT / "Dockerfile", *(path for path in (ROOT / "deploy").rglob("*") if path.is_file())]
    for file in files:
        assert not re.search(
            r"docker\.io|ghcr\.io|quay\.io|gcr\.io|pypi\.org|index-url[= ]http", file.read_text("utf-8")
        ), file


def test_what_is_copied_is_there_and_not_ignored() -> None:
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    copied = {
        word
        for stage in STAGES.values()
        for verb, rest in stage.steps
        if verb == "COPY" and not rest.startswith("--from")
        for word in rest.split()[:-1]
    }
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


def test_a_rehearsal_builds_a_stage_from_others(tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "word").write_text("hello")
    (tmp_path / "stages").mkdir()
    stages = stages_of(
        "ARG BASE=x\nFROM ${BASE} AS one\nWORKDIR /src\nCOPY word ./\n"
        "RUN cat word > /src/again \\\n  && echo there >> again\n"
        "FROM ${BASE} AS two\nCOPY --from=one /src /out\n"
    )
    rehearsal = Rehearsal(stages, tmp_path / "context", tmp_path)
    rehearsal.build("two")
    assert (tmp_path / "stages/two/out/again").read_text() == "hellothere\n"
    assert rehearsal.size_mb("two") == pytest.approx(16e-6)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text("utf-8"))
    PyCompose.from_json(json.dumps(loaded))  # raises for what the specification does not know
    return loaded


@pytest.mark.parametrize("name", ["gpus", "hosts"])
def test_what_is_added_to_the_compose_file_is_kdaifs_own(compose: dict[str, Any], name: str) -> None:
    added: dict[str, Any] = yaml.safe_load((ROOT / f"deploy/compose.{name}.yaml").read_text("utf-8"))
    PyCompose.from_json(json.dumps(added))
    known = {f"KDAIF_{field.upper()}" for field in WorkerSettings.model_fields}
    volumes = {*compose["volumes"], *added.get("volumes", {})}
    for service, given in added["services"].items():
        whole = compose["services"].get(service, {}) | given
        if service != "folders":
            assert set(given["environment"]) <= known, service
            assert whole["build"]["target"] in TARGETS, service
            assert (whole["read_only"], whole["cap_drop"]) == (True, ["ALL"]), service
        assert {volume.partition(":")[0] for volume in whole["volumes"]} <= volumes, service


def test_the_composed_hosts_meet_at_the_one_that_leads() -> None:
    services = yaml.safe_load((ROOT / "deploy/compose.hosts.yaml").read_text("utf-8"))["services"]
    settings = {
        name: WorkerSettings(
            **{key.removeprefix("KDAIF_").lower(): value for key, value in given["environment"].items()}
        )
        for name, given in services.items()
        if "environment" in given
    }
    assert {name: each.host_rank for name, each in settings.items()} == {"worker": 0, "follower": 1}
    assert {(each.hosts, each.rendezvous.partition(":")[0]) for each in settings.values()} == {(2, "worker")}


def test_the_compose_file_builds_targets_that_there_are(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert {services[name]["build"]["target"] for name in ("server", "worker")} <= set(TARGETS)
    assert {"--appendonly", "always", "noeviction"} <= set(services["valkey"]["command"])


def test_composed_containers_have_no_rights_and_open_no_port_to_others(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if name != "folders":  # which gives new volumes to their user, and ends
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        named = {volume.partition(":")[0] for volume in service.get("volumes", ()) if not volume.startswith(".")}
        assert named <= set(compose["volumes"]), name

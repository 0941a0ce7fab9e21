"""The command line against a real server: output, exit codes, and errors as a person sees them."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_client import _cli_up, cli
from kdaif_proto.v1 import datasets_pb2 as ds
from kdaif_proto.v1 import jobs_pb2 as jb
from kdaif_proto.v1 import weights_pb2 as wt
from typer.testing import CliRunner

from tests.client.command import kdaif, lines, succeeded
from tests.client.conftest import Bundle
from tests.client.small_server import SmallServer
from tests.client.small_state import PARENT
from tests.waiting import wait_for

COMMANDS = ["upload", "datasets", "submit", "check", "watch", "weights", "pull", "jobs", "cancel", "retry", "up"]
COMMANDS += ["resume", "reject", "delete", "history", "explain", "summary", "override", "overrides", "rerun", "diff"]
COMMANDS += ["export-mlflow", "audit"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pq.write_table(pa.table({"id": ["a", "b"], "x": [1.0, 2.0]}), tmp_path / "pool.parquet")
    return tmp_path / "pool.parquet"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(server: SmallServer, command: str) -> None:
    result = kdaif(server, command, "--help")
    assert result.exit_code == 0
    assert f"kdaif {command}" in result.stdout.split("Example", 1)[1]
    if command != "up":
        assert "--json" in result.stdout
        assert "KDAIF_TARGET" in result.stdout


def test_the_help_begins_with_what_one_needs_first(server: SmallServer) -> None:
    text = kdaif(server, "--help").stdout
    first = [text.index(f"│ {command} ") for command in ("up", "submit", "pull", "weights", "cancel", "upload")]
    assert first == sorted(first)


def test_a_decision_without_a_name_is_told_how_to_give_one(
    server: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("USER", raising=False)  # as in a container
    job = succeeded(server)
    refused = kdaif(server, "override", job, "--ban", "row-1", "--reason", "seen")
    assert refused.exit_code == 2
    assert "--author NAME or KDAIF_AUTHOR" in refused.stderr


def test_the_help_keeps_what_stands_in_brackets(server: SmallServer) -> None:
    assert "kdaif-client[mlflow]" in kdaif(server, "export-mlflow", "--help").stdout


def test_upload_and_list(server: SmallServer, file: Path) -> None:
    result = kdaif(server, "upload", str(file))
    assert result.exit_code == 0
    (name,) = server.state.datasets
    assert result.stdout == f"{name}\n"
    (dataset,) = lines(kdaif(server, "upload", str(file), "--json"))
    assert dataset["name"] == name
    assert dataset["display_name"] == "pool"
    assert lines(kdaif(server, "datasets", "--json")) == [dataset]
    table = kdaif(server, "datasets").stdout.splitlines()
    assert table[0].split("\t")[:3] == ["ID", "NAME", "STATE"]
    assert table[1].split("\t")[:3] == [name.rsplit("/", 1)[-1], "pool", "READY"]


def test_submit_takes_files_names_and_ids(server: SmallServer, file: Path) -> None:
    kdaif(server, "upload", str(file), "--name", "the pool")
    (name,) = server.state.datasets
    for given in (str(file), "the pool", name, name.rsplit("/", 1)[-1]):
        (job,) = lines(kdaif(server, "submit", "--labeled", given, "--unlabeled", given, "--json"))
        assert job["spec"]["labeled"] == name
    assert job["spec"].get("student") is None


def test_submit_with_every_short_form(server: SmallServer, file: Path) -> None:
    result = kdaif(
        server,
        *("submit", "--labeled", str(file), "--unlabeled", str(file), "--test", str(file), "--name", "nightly"),
        *("--student", "cnn:8,16", "--teacher", "train:mlp:128", "--planted-noise", "class_swap:0.4"),
        *("--rounds", "3", "--seed", "7", "--seeds", "2", "--device", "cpu", "--max-runtime-s", "60"),
        *("--request-id", "r1", "--json"),
    )
    (job,) = lines(result)
    dataset = job["spec"].pop("labeled")
    assert job["display_name"] == "nightly"
    assert job["spec"] == {
        "unlabeled": dataset,
        "test": dataset,
        "student": {"cnn": {"channels": [8, 16]}},
        "teacher": {
            "train": {"architecture": {"mlp": {"hidden_sizes": [128]}}},
            "planted_noise": {"kind": "KIND_CLASS_SWAP", "share": 0.4},
        },
        "training": {"rounds": 3, "seed": 7, "seeds": 2},
        "device": "cpu",
        "max_runtime_s": 60,
    }
    assert "r1" in server.state.requests


def test_a_model_is_uploaded_for_its_teacher_and_columns_are_named(
    server: SmallServer, file: Path, tmp_path: Path
) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(b"the small server does not look inside")
    data = ("--labeled", str(file), "--unlabeled", str(file), "--categorical", "city,shop", "--nullable", "age")
    teacher = ("--teacher", f"onnx:{model}:probabilities:cat,dog", "--student", "auto:max_kb=200")
    (job,) = lines(kdaif(server, "submit", *data, *teacher, "--json"))
    uploaded = {dataset.display_name: dataset for dataset in server.state.datasets.values()}
    assert uploaded["net"].kind == ds.Dataset.KIND_ONNX
    assert job["spec"]["teacher"] == {
        "onnx": {
            "model": uploaded["net"].name,
            "outputs": "OUTPUTS_PROBABILITIES",
            "class_names": ["cat", "dog"],
        }
    }
    assert job["spec"]["inputs"] == {"categorical_columns": ["city", "shop"], "nullable_columns": ["age"]}
    assert job["spec"]["student"] == {"auto": {"max_kb": 200.0}}
    (again,) = lines(kdaif(server, "submit", *data, "--teacher", "transformer:net", "--json"))
    assert again["spec"]["teacher"]["transformer"]["model"] == uploaded["net"].name


def test_a_spec_file_goes_round_and_options_go_over_it(server: SmallServer, file: Path, tmp_path: Path) -> None:
    first = kdaif(server, "submit", "--labeled", str(file), "--unlabeled", str(file), "--student", "mlp:9", "--json")
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(lines(first)[0]["spec"] | {"training": {"rounds": 5, "temperature": 3.0}}))
    (job,) = lines(kdaif(server, "submit", "--spec", str(spec), "--rounds", "2", "--json"))
    assert job["spec"]["student"] == {"mlp": {"hidden_sizes": [9]}}
    assert job["spec"]["training"] == {"rounds": 2, "temperature": 3.0}
    for text, says in (("{", "is not JSON"), ('{"studnet": {}}', "studnet"), ("[]", "DistillationSpec")):
        spec.write_text(text)
        result = kdaif(server, "submit", "--spec", str(spec))
        assert result.exit_code == 2
        assert says in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["submit"], 2, "--labeled and --unlabeled missing"),
        (["submit", "--labeled", "nothere", "--unlabeled", "nothere"], 3, "'nothere' is neither a file here nor"),
        (["submit", "--labeled", "x", "--unlabeled", "y", "--student", "vit"], 2, "auto:max_kb=200,max_ms=0.5, mlp"),
        (["submit", "--labeled", "x", "--unlabeled", "y", "--teacher", "column:logits"], 2, "never guessed"),
        (["submit", "--spec", "/nowhere.json"], 3, "There is no file /nowhere.json"),
        (["upload", "/nowhere.parquet"], 3, "There is no file /nowhere.parquet"),
        (["upload", __file__], 2, "not a whole Parquet file"),
        (["watch", "nothere"], 3, "There is no job"),
        (["jobs", "--state", "asleep"], 2, "choose from QUEUED"),
        (["jobs", "--limit", "none"], 2, "--limit"),
        (["watch"], 2, "JOB"),
    ],
)
def test_errors_say_what_and_the_fix(server: SmallServer, arguments: list[str], code: int, says: str) -> None:
    result = kdaif(server, *arguments)
    assert result.exit_code == code
    assert says in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_every_wrong_field_is_listed(server: SmallServer, file: Path, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text('{"training": {"temperature": 0}}')
    result = kdaif(server, "submit", "--spec", str(spec), "--labeled", str(file), "--unlabeled", str(file), "--json")
    assert result.exit_code == 2
    assert "  spec.training.temperature: is 0; must be above 0\n" in result.stderr
    assert result.stdout == ""


def test_no_server_is_exit_code_4() -> None:
    result = CliRunner().invoke(cli.app, ["jobs", "--target", "127.0.0.1:1"])
    assert result.exit_code == 4
    assert "Start one with `kdaif up`" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--target", "HERE", "jobs"], 0),
        (["--target", "127.0.0.1:1", "jobs", "--target", "HERE"], 0),
        (["--target", "127.0.0.1:1", "jobs"], 4),
        (["--target", "127.0.0.1:1", "alias", "show"], 4),
    ],
)
def test_the_target_may_stand_before_the_command(server: SmallServer, arguments: list[str], code: int) -> None:
    arguments = [server.target if each == "HERE" else each for each in arguments]
    told = CliRunner().invoke(cli.app, arguments, env={"KDAIF_TARGET": "127.0.0.1:2"})
    assert told.exit_code == code, told.stderr
    if code:
        assert "127.0.0.1:1 " in told.stderr


def test_the_tenant_may_stand_before_the_command(server: SmallServer, file: Path) -> None:
    told = CliRunner().invoke(cli.app, ["--target", server.target, "--tenant", "other", "upload", str(file)])
    assert told.stdout.startswith("tenants/other/datasets/"), told.stderr


def test_a_folder_that_cannot_be_written_is_no_traceback(
    server: SmallServer, image_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    result = kdaif(server, "pull", succeeded(server, image_bundle), str(tmp_path / "taken"))
    assert result.exit_code == 1
    assert "taken: File exists" in result.stderr


def test_validate_only_tells_the_findings(server: SmallServer, file: Path) -> None:
    arguments = ["submit", "--labeled", str(file), "--unlabeled", str(file), "--validate-only"]
    result = kdaif(server, *arguments)
    assert result.exit_code == 0
    assert "NON_FINITE_FEATURES" in result.stdout
    ((finding,),) = lines(kdaif(server, *arguments, "--json"))
    assert finding["row_count"] == 12
    assert server.state.jobs == {}


def test_submit_and_wait(server: SmallServer, file: Path) -> None:
    def run(final: jb.JobState.ValueType) -> None:
        job = wait_for(lambda: next((j for j in server.state.jobs.values() if j.state == jb.JOB_STATE_QUEUED), None))
        job.result.verdict = "Weighting helped."
        server.state.tell(job.name, "finished", final)

    arguments = ["submit", "--labeled", str(file), "--unlabeled", str(file), "--wait"]
    for final, code, more in ((jb.JOB_STATE_SUCCEEDED, 0, []), (jb.JOB_STATE_DEAD, 1, ["--json"])):
        thread = threading.Thread(target=run, args=(final,))
        thread.start()
        result = kdaif(server, *arguments, *more)
        thread.join()
        assert result.exit_code == code
        if more:
            assert lines(result)[0]["state"] == "DEAD"
            assert "ended DEAD" in result.stderr
            assert "kdaif retry" in result.stderr
        else:
            assert "Weighting helped." in result.stdout


def test_watch_prints_events_and_the_outcome(server: SmallServer) -> None:
    result = kdaif(server, "watch", succeeded(server))
    assert result.exit_code == 0
    assert "claimed  attempt 1  train_loss=nan" in result.stdout
    assert "influence\t0.9200\t0.0000\t+0.0200\t0.01" in result.stdout
    assert "kdaif pull j1" in result.stderr
    assert "The student of the influence arm is shipped. The canary check passed." in result.stdout
    events = lines(kdaif(server, "watch", "j1", "--json"))
    assert [event["sequence"] for event in events] == [1, 2]
    assert events[0]["metrics"] == {"train_loss": None}
    server.state.jobs[f"{PARENT}/distillationJobs/j1"].state = jb.JOB_STATE_CANCELLED
    assert kdaif(server, "watch", "j1", "--json").exit_code == 1


def test_a_fallback_is_told_once_and_the_shipped_arm_listed(server: SmallServer) -> None:
    result = server.state.jobs[f"{PARENT}/distillationJobs/{succeeded(server)}"].result
    result.shipped_arm, result.canary = "uniform", "The canary check failed."
    result.verdict = f"{result.canary} {result.verdict}"
    shown = kdaif(server, "watch", "j1").stdout
    assert "The student of the uniform arm is shipped." in shown
    assert shown.count("The canary check failed.") == 1
    assert "j1\tnightly\tSUCCEEDED\t1/3\tuniform 0.900" in kdaif(server, "jobs").stdout


def test_jobs_are_listed_shown_cancelled_and_retried(server: SmallServer) -> None:
    succeeded(server)
    server.state.add_job("j2", jb.JOB_STATE_QUEUED)
    assert [job["state"] for job in lines(kdaif(server, "jobs", "--json"))] == ["SUCCEEDED", "QUEUED"]
    assert "j1\tnightly\tSUCCEEDED\t1/3\tinfluence 0.920" in kdaif(server, "jobs").stdout
    assert len(lines(kdaif(server, "jobs", "--state", "queued", "--json"))) == 1
    shown = kdaif(server, "jobs", "j1").stdout
    assert "Weighting helped by 2.0 points" in shown
    assert lines(kdaif(server, "jobs", "j1", "--json"))[0]["result"]["arms"][1]["p_value"] == 0.01
    assert lines(kdaif(server, "cancel", "j2", "--json"))[0]["state"] == "CANCELLED"
    assert kdaif(server, "retry", "j2").stdout == f"{PARENT}/distillationJobs/j2 QUEUED\n"
    refused = kdaif(server, "cancel", "j1")
    assert refused.exit_code == 2
    assert "has SUCCEEDED already" in refused.stderr


def test_a_review_is_shown_and_answered(server: SmallServer) -> None:
    job = server.state.add_job("j1", jb.JOB_STATE_AWAITING_REVIEW)
    job.failure.reason, job.failure.message = jb.FAILURE_REASON_REVIEW, "weights collapsed"
    job.failure.log_tail = "last words"
    shown = kdaif(server, "jobs", "j1").stdout
    for told in ("AWAITING_REVIEW", "REVIEW: weights collapsed", "kdaif resume j1", "last words"):
        assert told in shown
    assert kdaif(server, "resume", "j1").stdout == f"{PARENT}/distillationJobs/j1 QUEUED\n"
    assert kdaif(server, "reject", "j1", "--why", "no").exit_code == 2
    assert kdaif(server, "delete", "j1").stdout == f"{PARENT}/distillationJobs/j1 deleted\n"
    assert kdaif(server, "jobs", "j1").exit_code == 3


def test_scheduling_stands_on_the_command_line(server: SmallServer, file: Path) -> None:
    needs = ("--priority", "5", "--gpus", "0", "--worker-labels", "eu,zone=a", "--deadline-s", "60")
    made = kdaif(server, "submit", "--labeled", str(file), "--unlabeled", str(file), *needs, "--json")
    sent = lines(made)[0]["spec"]["scheduling"]
    assert sent == {"priority": 5, "gpus": 0, "worker_labels": ["eu", "zone=a"], "deadline_s": 60}


def test_weights_most_harmful_first(server: SmallServer) -> None:
    succeeded(server)
    numbers = ("weight", "val_loss_change_if_upweighted", "stderr", "z_influence", "z_agreement", "log_odds")
    more = ("teacher_confidence", "student_confidence", "distillation_loss")
    server.state.weights = wt.SampleWeights(
        round=3,
        ids=[f"u{i}" for i in range(30)],
        pseudo_label=["cat"] * 30,
        student_label=["dog"] * 30,
        **{name: [i / 30 for i in range(30)] for name in (*numbers, *more)},  # type: ignore[arg-type]
    )
    found = lines(kdaif(server, "weights", "j1", "--json"))
    assert [weight["id"] for weight in found] == [f"u{i}" for i in range(29, 9, -1)]
    assert len(lines(kdaif(server, "weights", "j1", "--limit", "0", "--json"))) == 30
    assert [w["id"] for w in lines(kdaif(server, "weights", "j1", "--id", "u3", "--id", "u1", "--json"))] == [
        "u3",
        "u1",
    ]
    assert kdaif(server, "weights", "j1").stdout.splitlines()[1].startswith("u29\t0.9667\t+9.667e-01")


def test_pull(server: SmallServer, image_bundle: Bundle, tmp_path: Path) -> None:
    result = kdaif(server, "pull", succeeded(server, image_bundle), str(tmp_path / "s"))
    assert result.exit_code == 0
    assert str(tmp_path / "s" / "model.onnx") in result.stdout
    assert "Verified" in result.stderr
    (document,) = lines(kdaif(server, "pull", f"{PARENT}/students/j1", str(tmp_path / "s"), "--json"))
    assert document["folder"] == str(tmp_path / "s")
    assert {entry["path"] for entry in document["student"]["files"]} == set(image_bundle.files)
    assert document["student"]["signature"]["signature"] == "AP9zaWduZWQ="


def test_a_folder_that_is_called_as_the_data_set_is_not_taken_for_it(
    server: SmallServer, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kdaif(server, "upload", str(file), "--name", "pool").exit_code == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool").mkdir()
    (tmp_path / "encoder").mkdir()
    assert kdaif(server, "submit", "--labeled", "pool", "--unlabeled", "pool").exit_code == 0
    result = kdaif(server, "submit", "--labeled", "pool", "--unlabeled", "pool", "--teacher", "transformer:encoder")
    assert (result.exit_code, "'encoder' is neither" in result.stderr) == (3, True)


def test_a_packed_encoder_is_uploaded_as_a_model(server: SmallServer, tmp_path: Path) -> None:
    (tmp_path / "m.tar").write_bytes(b"packed")
    assert kdaif(server, "upload", str(tmp_path / "m.tar")).exit_code == 0
    assert [each.kind for each in server.state.datasets.values()] == [ds.Dataset.KIND_TRANSFORMER]


def test_check_looks_at_the_data_once_unless_the_rows_are_asked_for(
    server: SmallServer, file: Path, tmp_path: Path
) -> None:
    arguments = ["check", "--labeled", str(file), "--unlabeled", str(file)]
    result = kdaif(server, *arguments)
    assert (result.exit_code, server.state.calls["ReadRejectedRows"]) == (0, 0)
    assert "The job can be submitted." in result.stdout
    assert "With --rejected FILE the rows that are left out are written" in result.stdout
    assert kdaif(server, *arguments, "--rejected", str(tmp_path / "bad.parquet")).exit_code == 0
    assert server.state.calls["ReadRejectedRows"] == 1


def test_up_becomes_the_server(server: SmallServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: started.append([program, *command]))
    assert kdaif(server, "up", "--port", "0", "--data-dir", str(tmp_path)).exit_code == 0
    assert started == [
        [sys.executable, sys.executable, "-m", "kdaif_server", "up", "--port", "0", "--data-dir", str(tmp_path)]
    ]
    places = ["--allowed-root", "/srv", "--allowed-bucket", "s3://b/p", "--s3-endpoint", "http://127.0.0.1:9000"]
    assert kdaif(server, "up", *places).exit_code == 0
    assert started[1][5:] == ["--allowed-root=/srv", "--allowed-bucket=s3://b/p", "--s3-endpoint=http://127.0.0.1:9000"]
    monkeypatch.setattr(_cli_up, "find_spec", lambda name: None)
    result = kdaif(server, "up")
    assert result.exit_code == 1
    assert "pip install kdaif-server kdaif-worker" in result.stderr

"""A job on files that stay where they are, and data sets of the wrong kind, on a real stack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_client import Client, DatasetKind, OnnxTeacher, Training, TransformerTeacher, cli
from kdaif_client.errors import InvalidArgument, NotFound, ServerError
from safetensors.numpy import save_file
from typer.testing import CliRunner

from tests.e2e.conftest import running_stack

RNG = np.random.default_rng(4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shared")
    label = ["cat", "dog", "owl"] * 40
    pq.write_table(pa.table({"id": range(120), "x": RNG.normal(size=120), "label": label}), made / "labeled.parquet")
    pq.write_table(pa.table({"id": range(200), "x": RNG.normal(size=200)}), made / "pool.parquet")
    return made


@pytest.fixture(scope="module")
def target(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_stack(tmp_path_factory.mktemp("stack"), options=("--allowed-root", str(folder))) as stack:
        yield stack.target


@pytest.fixture
def client(target: str) -> Iterator[Client]:
    with Client(target) as connected:
        yield connected


def onnx_model(path: Path) -> Path:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3])],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
    return path


def test_a_job_trains_on_files_where_they_are(client: Client, target: str, folder: Path) -> None:
    labeled = client.register_dataset(f"file://{folder}/labeled.parquet", name="labeled")
    assert (labeled.row_count, labeled.uri) == (120, f"file://{folder}/labeled.parquet")
    made = CliRunner().invoke(cli.app, ["upload", f"file://{folder}/pool.parquet"], env={"KDAIF_TARGET": target})
    pool = client.get_dataset(made.stdout.strip())
    assert (pool.display_name, pool.uri) == ("pool", f"file://{folder}/pool.parquet")
    job = client.submit(labeled, pool, training=Training(rounds=1, epochs_per_round=1, seeds=1))
    assert job.wait(timeout_s=110).result.verdict
    for dataset in (labeled, pool):
        client.delete_dataset(dataset)
    assert (folder / "pool.parquet").exists()


def test_a_file_that_changed_refuses_the_job(client: Client, folder: Path) -> None:
    labeled = client.register_dataset(f"file://{folder}/labeled.parquet", name="labeled")
    changing = folder / "changing.parquet"
    pq.write_table(pa.table({"id": range(60), "x": RNG.normal(size=60)}), changing)
    pool = client.register_dataset(f"file://{changing}", name="pool")
    pq.write_table(pa.table({"id": range(60), "x": RNG.normal(size=60)}), changing)
    with pytest.raises(ServerError, match="changed since it was registered"):
        client.submit(labeled, pool)


def test_places_that_are_not_allowed(client: Client, folder: Path) -> None:
    for uri in (f"file://{folder}/../secret", "file:///etc/passwd", "s3://bucket/key", "http://localhost/x"):
        with pytest.raises(InvalidArgument) as caught:
            client.register_dataset(uri, name="x")
        assert [violation.field for violation in caught.value.violations] == ["uri"]
    with pytest.raises(NotFound):
        client.register_dataset(f"file://{folder}/missing.parquet", name="x")


def test_a_role_is_refused_a_data_set_of_another_kind(client: Client, folder: Path, tmp_path: Path) -> None:
    labeled = client.register_dataset(f"file://{folder}/labeled.parquet", name="labeled")
    pool = client.register_dataset(f"file://{folder}/pool.parquet", name="pool")
    model = client.upload_model(onnx_model(tmp_path / "model.onnx"), "model")
    save_file({"w": np.zeros(3, dtype=np.float32)}, tmp_path / "start.safetensors")
    start = client.upload_model(tmp_path / "start.safetensors", "start")
    assert (model.kind, start.kind) == (DatasetKind.ONNX, DatasetKind.SAFETENSORS)
    names = ("cat", "dog", "owl")
    wrong = {
        "spec.unlabeled": {"unlabeled": model},
        "spec.teacher.onnx.model": {"teacher": OnnxTeacher(pool, "logits", names)},
        "spec.teacher.transformer.model": {"teacher": TransformerTeacher(model)},
        "spec.initial_weights": {"initial_weights": labeled},
    }
    for field, changes in wrong.items():
        with pytest.raises(InvalidArgument, match="it must be") as caught:
            client.submit(**{"labeled": labeled, "unlabeled": pool} | changes)  # type: ignore[arg-type]
        assert [violation.field for violation in caught.value.violations] == [field]


def test_a_file_that_is_no_model_is_refused(client: Client, tmp_path: Path) -> None:
    (tmp_path / "fake.onnx").write_bytes(b"no graph")
    with pytest.raises(InvalidArgument, match="ONNX"):
        client.upload_model(tmp_path / "fake.onnx", "fake")
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InvalidArgument, match=r"tokenizer\.json"):
        client.upload_model(folder, "encoder")

"""The server by itself, on a real Valkey: health, reflection, error details, the port, the drain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from kdaif_proto.v1 import datasets_pb2, datasets_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from kdaif_server.server import RunningServer, running_server
from kdaif_server.settings import ServerSettings


def with_server(url: str, folder: Path, use: Callable[[RunningServer, grpc.Channel], None]) -> None:
    settings = ServerSettings(port=0, redis_url=url, data_dir=folder, reflection=True, drain_s=2.0)

    async def run() -> None:
        async with running_server(settings) as server:

            def call() -> None:
                with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                    use(server, channel)

            await asyncio.to_thread(call)

    asyncio.run(run())


def test_health_and_reflection_answer(valkey_url: str, tmp_path: Path) -> None:
    def use(server: RunningServer, channel: grpc.Channel) -> None:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(service="kdaif.v1.DistillationJobService"), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert "kdaif.v1.WeightService" in ProtoReflectionDescriptorDatabase(channel).get_services()

    with_server(valkey_url, tmp_path, use)


def test_a_refusal_carries_one_error_info_and_the_fields(valkey_url: str, tmp_path: Path) -> None:
    def use(server: RunningServer, channel: grpc.Channel) -> None:
        jobs = jobs_pb2_grpc.DistillationJobServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            jobs.CreateDistillationJob(jobs_pb2.CreateDistillationJobRequest(parent="tenants/default"), timeout=5)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        status = rpc_status.from_call(caught.value)
        assert status is not None
        infos = [any_.type_url for any_ in status.details if any_.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
        assert len(infos) == 1
        bad = error_details_pb2.BadRequest()
        assert any(any_.Unpack(bad) for any_ in status.details)
        assert {violation.field for violation in bad.field_violations} == {"spec.labeled", "spec.unlabeled"}

    with_server(valkey_url, tmp_path, use)


def test_a_second_server_does_not_share_the_port(valkey_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        first = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path)
        async with running_server(first) as server:
            second = first.model_copy(update={"port": server.port})
            with pytest.raises(RuntimeError, match="bind"):
                async with running_server(second):
                    pass

    asyncio.run(run())


def test_q9_an_upload_in_messages_of_one_mebibyte_passes(valkey_url: str, tmp_path: Path) -> None:
    def use(server: RunningServer, channel: grpc.Channel) -> None:
        datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
        size = 20 << 20
        created = datasets.CreateDataset(
            datasets_pb2.CreateDatasetRequest(parent="tenants/default", sha256="a" * 64, size_bytes=size), timeout=5
        )
        name = created.dataset.name
        messages = [datasets_pb2.WriteDatasetRequest(data=bytes(1 << 20)) for _ in range(20)]
        messages[0].name = name
        answer = datasets.WriteDataset(iter(messages), timeout=30)
        assert answer.committed_size == size
        status = datasets.QueryWriteStatus(datasets_pb2.QueryWriteStatusRequest(name=name), timeout=5)
        assert (status.committed_size, status.complete) == (size, False)
        with pytest.raises(grpc.RpcError) as caught:  # the bytes are not those of the hash
            datasets.WriteDataset(
                iter([datasets_pb2.WriteDatasetRequest(name=name, write_offset=size, finish_write=True)]), timeout=30
            )
        assert caught.value.code() is grpc.StatusCode.DATA_LOSS

    with_server(valkey_url, tmp_path, use)

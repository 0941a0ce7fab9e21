"""Each call by its request id, its code and its seconds, whoever asks and however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from kdaif_proto.v1 import datasets_pb2, datasets_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from kdaif_server.observability import ServerMetrics
from kdaif_server.observability.metrics import OTHER
from kdaif_server.server import running_server
from kdaif_server.settings import ServerSettings
from prometheus_client.parser import text_string_to_metric_families

from kdaif.queue import Measured, TenantQueue
from kdaif.queue.measurements import Redis
from kdaif.telemetry import LogFormat, LogLevel, configure_logs
from tests.waiting import wait_for


@pytest.fixture
def json_lines() -> Iterator[None]:
    configure_logs(LogFormat.JSON, LogLevel.DEBUG, service="kdaif-server")
    yield
    configure_logs(LogFormat.CONSOLE)  # as before


def calling(url: str, folder: Path, use: Any, calls: int) -> dict[str, float]:
    """Runs ``use(channel)`` against a server; answers what its page showed once so many calls had ended.

    A client has the status of a call a moment before the server has counted it.
    """
    settings = ServerSettings(port=0, redis_url=url, data_dir=folder, metrics="127.0.0.1:0", drain_s=1.0)

    async def run() -> dict[str, float]:
        async with running_server(settings) as server:

            def call() -> dict[str, float]:
                with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                    use(channel)

                def shown() -> dict[str, float] | None:
                    found = samples(str(server.metrics_url))
                    ended = sum(v for name, v in found.items() if name.startswith("kdaif_rpc_seconds_count"))
                    return found if ended >= calls else None

                return wait_for(shown)

            return await asyncio.to_thread(call)

    return asyncio.run(run())


def samples(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - of this test
        text = answer.read().decode()
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_calls_are_counted_by_method_and_code(valkey_url: str, tmp_path: Path) -> None:
    def use(channel: grpc.Channel) -> None:
        jobs = jobs_pb2_grpc.DistillationJobServiceStub(channel)
        jobs.ListDistillationJobs(jobs_pb2.ListDistillationJobsRequest(parent="tenants/acme"), timeout=5)
        for name in ("nonsense", "tenants/acme/distillationJobs/" + "0" * 26):
            with pytest.raises(grpc.RpcError):
                jobs.GetDistillationJob(jobs_pb2.GetDistillationJobRequest(name=name), timeout=5)
            with pytest.raises(grpc.RpcError):
                list(jobs.WatchDistillationJob(jobs_pb2.WatchDistillationJobRequest(name=name), timeout=5))

    shown = calling(valkey_url, tmp_path, use, calls=5)
    counts = {name: value for name, value in shown.items() if name.startswith("kdaif_rpc_seconds_count")}
    assert counts == {
        "kdaif_rpc_seconds_count['ListDistillationJobs', 'OK']": 1,
        "kdaif_rpc_seconds_count['GetDistillationJob', 'INVALID_ARGUMENT']": 1,
        "kdaif_rpc_seconds_count['GetDistillationJob', 'NOT_FOUND']": 1,
        "kdaif_rpc_seconds_count['INVALID_ARGUMENT', 'WatchDistillationJob']": 1,
        "kdaif_rpc_seconds_count['NOT_FOUND', 'WatchDistillationJob']": 1,
    }


def test_uploaded_bytes_are_counted_though_the_upload_is_refused(valkey_url: str, tmp_path: Path) -> None:
    def use(channel: grpc.Channel) -> None:
        datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
        created = datasets.CreateDataset(
            datasets_pb2.CreateDatasetRequest(parent="tenants/acme", sha256="a" * 64, size_bytes=3000), timeout=5
        )
        messages = [
            datasets_pb2.WriteDatasetRequest(name=created.dataset.name, data=bytes(1000)),
            datasets_pb2.WriteDatasetRequest(data=bytes(2000)),
            datasets_pb2.WriteDatasetRequest(finish_write=True),
        ]
        with pytest.raises(grpc.RpcError):
            datasets.WriteDataset(iter(messages), timeout=5)

    shown = calling(valkey_url, tmp_path, use, calls=2)
    assert shown["kdaif_upload_bytes_total[]"] == 3000
    assert shown["kdaif_rpc_seconds_count['DATA_LOSS', 'WriteDataset']"] == 1


@pytest.mark.usefixtures("json_lines")
def test_one_request_id_is_in_the_error_and_in_the_line(
    valkey_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    def use(channel: grpc.Channel) -> None:
        jobs = jobs_pb2_grpc.DistillationJobServiceStub(channel)
        request = jobs_pb2.GetDistillationJobRequest(name="tenants/acme/distillationJobs/" + "0" * 26)
        for sent in ("night-7", 'evil"\n{}', None):
            metadata = [("x-request-id", sent.replace("\n", " "))] if sent else []
            with pytest.raises(grpc.RpcError) as caught:
                jobs.GetDistillationJob(request, timeout=5, metadata=metadata)
            status = rpc_status.from_call(caught.value)
            info = error_details_pb2.RequestInfo()
            assert sum(detail.Unpack(info) for detail in status.details) == 1
            told.append(info.request_id)

    calling(valkey_url, tmp_path, use, calls=3)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    calls = [line for line in lines if line["event"] == "call"]
    assert [line["request_id"] for line in calls] == told
    assert told[0] == "night-7"
    assert all(len(each) == 32 for each in told[1:])  # an id that could break a line is replaced
    assert len(set(told)) == 3
    for line in calls:
        assert (line["tenant"], line["job"], line["code"]) == ("acme", "0" * 26, "NOT_FOUND")
        assert line["service"] == "kdaif-server"


@pytest.mark.usefixtures("json_lines")
def test_quiet_calls_and_devices_write_no_line_at_info(
    valkey_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(LogFormat.JSON, LogLevel.INFO)

    def use(channel: grpc.Channel) -> None:
        jobs = jobs_pb2_grpc.DistillationJobServiceStub(channel)
        jobs.ListDistillationJobs(jobs_pb2.ListDistillationJobsRequest(parent="tenants/acme"), timeout=5)
        with contextlib.suppress(grpc.RpcError):
            jobs.CancelDistillationJob(jobs_pb2.CancelDistillationJobRequest(name="nonsense"), timeout=5)

    calling(valkey_url, tmp_path, use, calls=2)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["method"] for line in lines if line["event"] == "call"] == ["CancelDistillationJob"]


def test_tenants_without_number_make_no_series_without_number() -> None:
    metrics = ServerMetrics(most_tenants=3)
    redis = Redis(aof_is_enabled=True, aof_is_healthy=True, used_memory_bytes=1, max_memory_bytes=0)
    tenants = tuple(TenantQueue(f"t{number:03d}", 2, 0, 1) for number in range(100))
    metrics.show(Measured(redis, tenants), [], 0.0)

    def queued(tenant: str) -> float | None:
        return metrics.registry.get_sample_value("kdaif_queue_jobs", {"tenant": tenant, "state": "queued"})

    assert [queued(tenant) for tenant in ("t000", "t002", "t003", OTHER)] == [2, 2, None, 194]
    metrics.show(Measured(redis, tenants[:1]), [], 0.0)
    assert [queued(tenant) for tenant in ("t000", "t002", OTHER)] == [2, None, None]

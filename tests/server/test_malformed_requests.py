"""What `make fuzz` found, kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from kdaif_client import Client
from kdaif_proto.v1 import jobs_pb2, jobs_pb2_grpc
from kdaif_server.settings import ServerSettings

from tests.server.access.calling import METHODS
from tests.server.serving import serving, submit


@pytest.fixture
def target(valkey_url: str, tmp_path: Path) -> Iterator[str]:
    with serving(ServerSettings(redis_url=valkey_url, data_dir=tmp_path, port=0, drain_s=0.5)) as found:
        yield found


def test_bytes_that_are_no_message_are_the_callers_mistake(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        for path, method in METHODS.items():
            kind = (
                f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
            )
            callee = getattr(channel, kind)(path, request_serializer=bytes, response_deserializer=bytes)
            data = b"\xff\xff\xff"
            with pytest.raises(grpc.RpcError) as caught:
                answer = callee(iter([data]) if method.client_streaming else data, timeout=20)
                _ = [*answer] if method.server_streaming else answer
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, path


@pytest.mark.parametrize("after", [-1, -(2**63)])
def test_a_watch_after_a_negative_event_is_refused(target: str, after: int) -> None:
    with Client(target) as client, grpc.insecure_channel(target) as channel:
        request = jobs_pb2.WatchDistillationJobRequest(name=submit(client).name, after_sequence=after)
        with pytest.raises(grpc.RpcError, match="after_sequence"):
            next(jobs_pb2_grpc.DistillationJobServiceStub(channel).WatchDistillationJob(request, timeout=20))


def test_a_watch_after_the_last_number_that_there_can_be_is_quiet(target: str) -> None:
    with Client(target) as client, grpc.insecure_channel(target) as channel:
        request = jobs_pb2.WatchDistillationJobRequest(name=submit(client).name, after_sequence=2**63 - 1)
        with pytest.raises(grpc.RpcError) as caught:
            next(jobs_pb2_grpc.DistillationJobServiceStub(channel).WatchDistillationJob(request, timeout=1))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

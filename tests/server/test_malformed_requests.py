"""What `make fuzz` found, kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import message_factory
from kdaif_client import Client
from kdaif_proto.v1 import jobs_pb2, jobs_pb2_grpc
from kdaif_server.settings import ServerSettings
from kdaif_server.statuses import status_of

from kdaif.errors import FieldViolation, InvalidInputError
from tests.server.access.calling import METHODS, call, code_of_bytes, details_of
from tests.server.serving import serving, submit


@pytest.fixture
def target(valkey_url: str, tmp_path: Path) -> Iterator[str]:
    with serving(ServerSettings(redis_url=valkey_url, data_dir=tmp_path, port=0, drain_s=0.5)) as found:
        yield found


def test_bytes_that_are_no_message_are_the_callers_mistake(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        codes = {path: code_of_bytes(channel, path, b"\xff\xff\xff") for path in METHODS}
    assert set(codes.values()) == {grpc.StatusCode.INVALID_ARGUMENT}, codes


@pytest.mark.parametrize("name", ["a" * 5_000, "🦉" * 3_000, "tenants/default/" + "%" * 20_000])
def test_a_long_name_is_answered_though_its_echo_would_not_go_through(target: str, name: str) -> None:
    with grpc.insecure_channel(target) as channel:
        for path, method in METHODS.items():
            request = message_factory.GetMessageClass(method.input_type)()
            setattr(request, "name" if "name" in method.input_type.fields_by_name else "parent", name)
            with pytest.raises(grpc.RpcError) as caught:
                call(channel, path, request, None)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, (path, caught.value.details())
            assert next(details_of(caught.value)).reason == "INVALID_INPUT"


def test_many_wrong_fields_are_told_as_far_as_they_go_through() -> None:
    violations = tuple(FieldViolation(f"spec.field_{n}", "é" * 500) for n in range(200))
    status = status_of(InvalidInputError("; ".join(v.description for v in violations), violations))
    assert len(status.SerializeToString()) < 6_000
    short = status_of(InvalidInputError.of("spec.name", "is empty"))
    assert short.message == "spec.name: is empty"


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

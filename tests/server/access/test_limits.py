"""What a tenant may call: the bucket by itself, then a real server and an SDK that waits as it is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st
from kdaif_client import Client
from kdaif_client.errors import ResourceExhausted
from kdaif_server.access.limits import CallLimits, Limiter
from kdaif_server.settings import ServerSettings

from kdaif.errors import QuotaExceededError
from tests.server.access.calling import METHODS, call, code_of, details_of, request_for
from tests.server.serving import serving, submit
from tests.waiting import wait_for

LIST = "/kdaif.v1.DatasetService/ListDatasets"
WATCH = "/kdaif.v1.DistillationJobService/WatchDistillationJob"


def _again(times: int, do: Callable[[], object]) -> None:
    for _ in range(times):
        do()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    rate=st.floats(0.1, 100),
    burst=st.integers(1, 50),
    pauses=st.lists(st.floats(0, 3), max_size=200),
)
def test_no_span_has_more_calls_than_rate_and_burst_allow(rate: float, burst: int, pauses: list[float]) -> None:
    clock = Clock()
    limiter = Limiter(CallLimits(rate, burst), clock=clock)
    taken: list[float] = []
    for pause in pauses:
        clock.now += pause
        try:
            limiter.take("acme")
        except QuotaExceededError as error:
            clock.now += (error.retry_after_s or 0.0) + 1e-6
            limiter.take("acme")  # what was said holds
        taken.append(clock.now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - taken[first]) + 1e-3


def test_tenants_do_not_share_and_are_forgotten_when_they_are_quiet() -> None:
    clock = Clock()
    limiter = Limiter(CallLimits(1.0, 1), clock=clock)
    for number in range(25_000):
        limiter.take(f"tenant-{number}")
        clock.now += 0.01
    assert len(limiter._buckets) <= 10_100


def test_too_many_calls_say_when_and_the_sdk_comes_back_then(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(
        redis_url=valkey_url, data_dir=tmp_path, port=0, drain_s=0.5, tenant_calls_per_s=5, tenant_burst_calls=5
    )
    with serving(settings) as target:
        with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError) as caught:
            _again(20, lambda: call(channel, LIST, request_for(METHODS[LIST], "default"), None))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        info, quota, retry = details_of(caught.value)
        assert info.reason == "QUOTA_EXCEEDED"
        assert [violation.subject for violation in quota.violations] == ["tenants/default"]
        assert isinstance(retry, error_details_pb2.RetryInfo)
        assert 0 < retry.retry_delay.ToNanoseconds() <= 0.2e9
        with Client(target) as client:
            began_s = time.monotonic()
            for _ in range(10):
                list(client.list_datasets())
            assert time.monotonic() - began_s >= 9 / 5 - 1.1  # the bucket may have filled up meanwhile
        with Client(target, tenant="other") as other:
            list(other.list_datasets())
        with Client(target, timeout_s=0.1) as hasty, pytest.raises(ResourceExhausted, match="5 calls a second") as end:
            _again(20, lambda: list(hasty.list_datasets()))
        assert end.value.retry_after_s is not None


def test_open_streams_are_counted_and_given_back(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(redis_url=valkey_url, data_dir=tmp_path, port=0, drain_s=0.5, tenant_open_streams=1)
    with serving(settings) as target, Client(target) as client, grpc.insecure_channel(target) as channel:
        job = submit(client)
        request = request_for(METHODS[WATCH], "default")
        request.name = job.name
        events = job.watch()
        next(events)
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, WATCH, request, None)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1 streams open" in caught.value.details()
        events.close()

        def is_free() -> bool:
            job.refresh()  # a client that makes no more calls may hold back that it ended one
            return code_of(channel, WATCH, request, None) is grpc.StatusCode.OK

        assert wait_for(is_free)


def test_a_full_store_is_a_quota_that_waiting_does_not_help(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(redis_url=valkey_url, data_dir=tmp_path, port=0, drain_s=0.5, tenant_quota_bytes=10)
    with serving(settings) as target, Client(target) as client, pytest.raises(ResourceExhausted) as caught:
        client.upload_dataset({"features": [[1.0]]}, name="tiny")
    assert caught.value.retry_after_s is None

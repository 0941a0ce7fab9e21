"""The gRPC server: wiring, health, and a graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from kdaif_proto.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    datasets_pb2,
    datasets_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    students_pb2,
    students_pb2_grpc,
    weights_pb2,
    weights_pb2_grpc,
)

from kdaif import datasets
from kdaif.model_files import inspect_bounded
from kdaif.queue import SCHEMA_VERSION, JobQueue, Measurements, prepare, without_password
from kdaif.store import BlobStore, DatasetStore, LineStore
from kdaif.telemetry import metrics_endpoint
from kdaif_server.access.authentication import Authentication
from kdaif_server.access.exposure import check_exposure, credentials
from kdaif_server.access.guard import Access
from kdaif_server.access.keys import KeyFile
from kdaif_server.access.limits import Limiter
from kdaif_server.access.tokens import TokenVerifier
from kdaif_server.artifacts import Artifacts
from kdaif_server.backend import Backend
from kdaif_server.dashboard import running_dashboard
from kdaif_server.handlers import Layers
from kdaif_server.observability import Monitor, Observing, ServerMetrics
from kdaif_server.observability.health_check import health_endpoint
from kdaif_server.rebuild import is_index_lost
from kdaif_server.services.audit import AuditService
from kdaif_server.services.datasets import DatasetService
from kdaif_server.services.jobs import DistillationJobService
from kdaif_server.services.students import StudentService
from kdaif_server.services.weights import WeightService
from kdaif_server.settings import ServerSettings
from kdaif_server.signing import SigningKey
from kdaif_server.statuses import errors_as_statuses
from kdaif_server.upkeep import Upkeep
from kdaif_server.weights.engine import Engine

_SERVICES = tuple(
    pb.DESCRIPTOR.services_by_name[name].full_name
    for pb, name in (
        (datasets_pb2, "DatasetService"),
        (jobs_pb2, "DistillationJobService"),
        (weights_pb2, "WeightService"),
        (students_pb2, "StudentService"),
        (audit_pb2, "AuditService"),
    )
)
_log = structlog.get_logger("kdaif.server")


def _options(settings: ServerSettings, *, shares_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", 16 * 1024 * 1024),
        # On by default, it would let a second server bind the same port unseen.
        ("grpc.so_reuseport", int(shares_port)),
        # Clients ping every 10 s through quiet watches. This spelling works; min_recv_... is ignored silently.
        ("grpc.http2.min_ping_interval_without_data_ms", round(settings.min_client_ping_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 30_000),
    ]


class RunningServer:
    """A started server: its ports, the URLs of its dashboard and metrics where it has them, and the way to end it."""

    def __init__(
        self, server: grpc.aio.Server, port: int, health: grpc_health.aio.HealthServicer, stopping: asyncio.Event
    ) -> None:
        self.port = port
        self.health_port: int | None = None
        self.dashboard_url: str | None = None
        self.metrics_url: str | None = None
        self._server = server
        self._health = health
        self._stopping = stopping

    async def stop(self, drain_s: float) -> None:
        """Says NOT_SERVING, sends watchers away, lets other calls end within ``drain_s`` seconds."""
        await self._health.enter_graceful_shutdown()
        self._stopping.set()
        await self._server.stop(drain_s)


@contextlib.asynccontextmanager
async def running_server(settings: ServerSettings, *, shares_port: bool = False) -> AsyncIterator[RunningServer]:
    """Connects, starts, and on leaving drains. With ``shares_port`` others that do may listen on the same port.

    Raises:
        FailedPreconditionError: Redis could lose jobs.
        InvalidInputError: others could reach the dashboard, or a server that asks nobody who they are.
        UnavailableError: something does not answer, or the dashboard's port is taken.
    """
    check_exposure(settings)
    authentication, tls = _authentication(settings), credentials(settings)
    address = settings.dashboard_address
    await _prepare_redis(settings)
    queue = await JobQueue.connect(
        settings.redis_url,
        lease_ttl_s=settings.lease_ttl_s,
        require_durable=settings.require_durable_redis,
        retry_delay_s=settings.retry_delay_s,
    )
    measurements = Measurements(settings.redis_url)
    try:
        blobs = BlobStore.open(settings.blob_url)
        await _warn(settings, queue, blobs, authentication)
        dataset_store = _datasets(settings, blobs)
        stopping = asyncio.Event()
        metrics, health = ServerMetrics(), grpc_health.aio.HealthServicer()
        await health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)  # until the first look
        monitor = Monitor(
            queue,
            measurements,
            metrics,
            health,
            services=_SERVICES,
            places={"spool": settings.spool_dir, "cache": settings.cache_dir} | settings.local_store,
            unserved_after_s=settings.unserved_after_s,
        )
        upkeep = Upkeep(settings, queue, blobs, dataset_store, metrics)
        async with upkeep.running(stopping, (monitor.look, settings.look_every_s)):
            backend = Backend(
                queue=queue,
                datasets=dataset_store,
                artifacts=Artifacts(queue, blobs, settings.cache_dir),
                engine=Engine(settings.cache_dir / "spill"),
                cache_dir=settings.cache_dir,
                stopping=stopping,
            )
            server = _build(settings, backend, metrics, health, authentication, shares_port=shares_port)
            port = _listen(server, f"{settings.host}:{settings.port}", tls)
            running = RunningServer(server, port, health, stopping)
            async with contextlib.AsyncExitStack() as open_ports:
                # The first to open and the last to close: through the drain it says NOT_SERVING.
                running.health_port = await open_ports.enter_async_context(
                    health_endpoint(settings.health, health, shares_port=shares_port)
                )
                await server.start()
                open_ports.push_async_callback(running.stop, settings.drain_s)
                await monitor.look()
                running.metrics_url = await open_ports.enter_async_context(
                    metrics_endpoint(settings.metrics, metrics.registry)
                )
                if address is not None:
                    bound = address.bind(or_free=settings.dashboard_or_free)
                    pages = running_dashboard(backend, bound, authentication, drain_s=settings.drain_s)
                    running.dashboard_url = await open_ports.enter_async_context(pages)
                try:
                    yield running
                finally:
                    stopping.set()  # else live pages would keep the dashboard open
    finally:
        await measurements.close()
        await queue.close()


async def serve(
    settings: ServerSettings, *, shares_port: bool = False, announce: Callable[[RunningServer], None] | None = None
) -> None:
    """Runs until SIGTERM or SIGINT, then drains. Calls ``announce`` once calls are answered."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    async with running_server(settings, shares_port=shares_port) as server:
        _log.info(
            "serving",
            host=settings.host,
            port=server.port,
            blobs=settings.blob_url,
            dashboard=server.dashboard_url,
            metrics=server.metrics_url,
        )
        if announce is not None:
            announce(server)
        await asked.wait()
        _log.info("draining", drain_s=settings.drain_s)


async def _prepare_redis(settings: ServerSettings) -> None:
    found = await prepare(settings.redis_url)
    if found < SCHEMA_VERSION:
        _log.warning("data in Redis brought up to date", from_version=found, to_version=SCHEMA_VERSION)


async def _warn(
    settings: ServerSettings, queue: JobQueue, blobs: BlobStore, authentication: Authentication | None
) -> None:
    if authentication is not None and not authentication.can_be_passed:
        _log.warning("nobody can call: make a key with 'kdaif-server keys create'", keys_file=str(settings.key_file))
    for fault in queue.durability.faults:
        _log.critical("ACKNOWLEDGED JOBS MAY BE LOST: the check of Redis was overridden", fault=fault)
    for doubt in queue.durability.doubts:
        _log.warning("Redis may lose jobs", doubt=doubt)
    if await is_index_lost(queue, blobs):
        _log.critical(
            "REDIS IS EMPTY, BUT THE STORE HOLDS JOBS: run 'kdaif-server rebuild-index' before anything is submitted",
            redis_url=without_password(settings.redis_url),
            store_url=settings.blob_url,
        )


def _datasets(settings: ServerSettings, blobs: BlobStore) -> DatasetStore:
    return DatasetStore(
        blobs,
        settings.spool_dir,
        partial(datasets.inspect, most_bytes=settings.most_table_bytes),
        inspect_model=inspect_bounded,
        references=settings.references,
        limits=settings.upload_limits,
    )


def _authentication(settings: ServerSettings) -> Authentication | None:
    """None where nobody is asked who they are."""
    if settings.authentication != "on":
        return None
    issuer = settings.jwt
    return Authentication(KeyFile(settings.key_file), None if issuer is None else TokenVerifier(issuer))


def _listen(server: grpc.aio.Server, address: str, tls: grpc.ServerCredentials | None) -> int:
    return server.add_insecure_port(address) if tls is None else server.add_secure_port(address, tls)


def _build(
    settings: ServerSettings,
    backend: Backend,
    metrics: ServerMetrics,
    health: grpc_health.aio.HealthServicer,
    authentication: Authentication | None,
    *,
    shares_port: bool,
) -> grpc.aio.Server:
    queue, artifacts = backend.queue, backend.artifacts
    key = SigningKey.at(settings.signing_key)
    access = Access(authentication, Limiter(settings.call_limits))
    # Observing stands outermost, to see what is refused; access comes last, so that its errors become statuses too.
    layers = Layers(Observing(metrics), errors_as_statuses, access)
    to: Any = layers  # stands where the generated code expects a server
    datasets_pb2_grpc.add_DatasetServiceServicer_to_server(DatasetService(backend.datasets), to)
    jobs_pb2_grpc.add_DistillationJobServiceServicer_to_server(
        DistillationJobService(
            queue, backend.datasets, artifacts, LineStore(artifacts.blobs), backend.cache_dir, backend.stopping
        ),
        to,
    )
    weights_pb2_grpc.add_WeightServiceServicer_to_server(WeightService(artifacts, backend.engine), to)
    students_pb2_grpc.add_StudentServiceServicer_to_server(StudentService(queue, artifacts, key), to)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditService(artifacts.audit), to)
    health_pb2_grpc.add_HealthServicer_to_server(health, to)
    if settings.reflection:
        shown = reflection.aio.ReflectionServicer((*_SERVICES, reflection.SERVICE_NAME))
        add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server  # has no types
        add(shown, to)
    server = grpc.aio.server(options=_options(settings, shares_port=shares_port))
    server.add_generic_rpc_handlers((layers,))
    return server

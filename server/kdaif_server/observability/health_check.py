"""What probes ask: the port that answers them where TLS stands before all others, and ``kdaif-server health``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kdaif.errors import UnavailableError
from kdaif.telemetry import parse_address
from kdaif_server.settings import ServerSettings

_ANSWERS_WITHIN_S = 5.0


@contextlib.asynccontextmanager
async def health_endpoint(
    address: str, health: grpc_health.aio.HealthServicer, *, shares_port: bool
) -> AsyncIterator[int | None]:
    """Answers gRPC's health service, and nothing else, without TLS; yields the port, None where there is none.

    Kubernetes' probes and most load balancers speak no TLS, and have no certificate that mutual TLS would ask for.

    Args:
        address: HOST:PORT, ``:PORT`` for every address of this machine, or an empty text for no such port.
        health: what it says.
        shares_port: whether others that do may listen on the same port.

    Raises:
        InvalidInputError: the address is none.
        UnavailableError: the port is taken.
    """
    if not address:
        yield None
        return
    host, port = parse_address(address, "health")
    server = grpc.aio.server(options=[("grpc.so_reuseport", int(shares_port))])
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    try:
        bound = server.add_insecure_port(_target(host or "0.0.0.0", port))  # noqa: S104 - asked for
    except RuntimeError as error:
        raise UnavailableError(f"health: cannot listen on {address} ({error}). Choose another port.") from error
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


def healthy(settings: ServerSettings, service: str) -> int:
    """Asks the server at its address for health, or at ``host`` and ``port``; prints what it says. 0 for SERVING."""
    if settings.health:
        host, port = parse_address(settings.health, "health")
    elif settings.tls_cert_file is None:
        host, port = settings.host, settings.port
    else:
        sys.stdout.write(
            "not asked: the server speaks TLS alone. Give it, and this command, an address for this question: "
            "--health 127.0.0.1:50052, or KDAIF_HEALTH\n"
        )
        return 1
    # A server that listens everywhere is asked here.
    host = "127.0.0.1" if host in ("", "0.0.0.0", "::", "[::]") else host  # noqa: S104 - compared
    try:
        with grpc.insecure_channel(_target(host, port)) as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(request, timeout=_ANSWERS_WITHIN_S)
        said = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    except grpc.RpcError as error:
        said = f"no answer: {error.code().name}"
    sys.stdout.write(f"{said}\n")
    return 0 if said == "SERVING" else 1


def _target(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"

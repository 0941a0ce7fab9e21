"""What a container's health check asks."""

from __future__ import annotations

import socket
import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kdaif_server.settings import ServerSettings

_ANSWERS_WITHIN_S = 5.0


def healthy(settings: ServerSettings, service: str) -> int:
    """Asks the server at ``host`` and ``port``; prints what it says. 0 where it is SERVING, else 1."""
    # A server that listens everywhere is asked here.
    host = "127.0.0.1" if settings.host in ("", "0.0.0.0", "::") else settings.host  # noqa: S104 - compared
    if settings.tls_cert_file is not None:
        return _takes_connections(host, settings.port)
    try:
        with grpc.insecure_channel(f"{host}:{settings.port}") as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(request, timeout=_ANSWERS_WITHIN_S)
        said = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    except grpc.RpcError as error:
        said = f"no answer: {error.code().name}"
    sys.stdout.write(f"{said}\n")
    return 0 if said == "SERVING" else 1


def _takes_connections(host: str, port: int) -> int:
    """Of a server with TLS, whose certificate is for another name than this address, and which may want one of ours."""
    try:
        socket.create_connection((host, port), _ANSWERS_WITHIN_S).close()
    except OSError as error:
        sys.stdout.write(f"no answer: {error.strerror or error}\n")
        return 1
    sys.stdout.write("it takes connections; what it says is behind TLS\n")
    return 0

"""Every method of the contract, called as its descriptor says, without a stub that knows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from kdaif_proto.v1 import audit_pb2, datasets_pb2, jobs_pb2, students_pb2, weights_pb2
from kdaif_server.access.requests import NAME_FIELDS

METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for module in (audit_pb2, datasets_pb2, jobs_pb2, weights_pb2, students_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
ID = "0" * 32


def request_for(method: MethodDescriptor, tenant: str) -> Any:
    """A request about something of the tenant that is not there."""
    request = message_factory.GetMessageClass(method.input_type)()
    (field,) = (field for field in NAME_FIELDS if field in method.input_type.fields_by_name)
    setattr(request, field, resource(method, tenant))
    return request


def resource(method: MethodDescriptor, tenant: str) -> str:
    service = method.containing_service.name
    if "parent" in method.input_type.fields_by_name:
        return f"tenants/{tenant}/distillationJobs/{ID}" if service == "WeightService" else f"tenants/{tenant}"
    collection = {"DatasetService": "datasets", "StudentService": "students"}.get(service, "distillationJobs")
    return f"tenants/{tenant}/{collection}/{ID}"


def call(channel: grpc.Channel, path: str, request: Any, authorization: str | None, timeout_s: float = 30.0) -> Any:
    """The first answer. Raises grpc.RpcError."""
    method = METHODS[path]
    answer = message_factory.GetMessageClass(method.output_type)
    kind: Callable[..., Any] = getattr(
        channel,
        f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}",
    )
    callee = kind(path, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString)
    metadata = None if authorization is None else (("authorization", authorization),)
    given = iter([request]) if method.client_streaming else request
    answers = callee(given, metadata=metadata, timeout=timeout_s)
    if not method.server_streaming:
        return answers
    try:
        return next(answers, None)
    finally:
        answers.cancel()


def code_of(channel: grpc.Channel, path: str, request: Any, authorization: str | None) -> grpc.StatusCode:
    try:
        call(channel, path, request, authorization)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def code_of_bytes(channel: grpc.Channel, path: str, data: bytes) -> grpc.StatusCode:
    """What comes of a request that is these bytes."""
    method = METHODS[path]
    streams = ("stream" if method.client_streaming else "unary", "stream" if method.server_streaming else "unary")
    callee: Any = getattr(channel, "_".join(streams))(path, request_serializer=bytes, response_deserializer=bytes)
    try:
        answer = callee(iter([data]) if method.client_streaming else data, timeout=20)
        if method.server_streaming:
            next(answer, None)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def details_of(error: Any) -> Iterator[Any]:
    for detail in rpc_status.from_call(error).details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.QuotaFailure, error_details_pb2.RetryInfo):
            found = kind()
            if detail.Is(found.DESCRIPTOR):
                detail.Unpack(found)
                yield found

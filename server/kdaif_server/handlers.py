"""What an interceptor puts around a handler, whichever of the four kinds of call it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

Handler = Any  # grpc.RpcMethodHandler, whose stubs hide its attributes
Unary = Callable[[Any, Any], Awaitable[Any]]
Streaming = Callable[[Any, Any], AsyncIterator[Any]]


class Malformed:
    """Stands for a message whose bytes are no message; gRPC itself would answer UNKNOWN and log a traceback."""


def reading(deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """The same deserializer, which gives `Malformed` instead of raising."""
    if deserializer is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserializer(data)
        except Exception:
            return Malformed()

    return read


def around(handler: Handler, unary: Callable[[Unary], Unary], streaming: Callable[[Streaming], Streaming]) -> Handler:
    """The same handler with another behaviour.

    Args:
        handler: of one method.
        unary: makes the behaviour where one response is sent.
        streaming: makes it where many are.
    """
    if handler.response_streaming:
        inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        behaviour: Any = streaming(inner)
    else:
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        behaviour = unary(inner)
    return make(behaviour, reading(handler.request_deserializer), handler.response_serializer)

"""What is put around the handlers of all services, whichever of the four kinds of call they answer.

It is put there once for each method, and not for each call: gRPC's own interceptors make everything anew each time,
and three of them cost a server more than a short call itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any

import grpc

Handler = Any  # grpc.RpcMethodHandler, whose stubs hide its attributes
Unary = Callable[[Any, Any], Awaitable[Any]]
Streaming = Callable[[Any, Any], AsyncIterator[Any]]
Layer = Callable[[str, Handler], Handler]
"""Gives the handler of a method something more to do, before or after what it does."""

_METADATA: ContextVar[Sequence[tuple[str, str | bytes]]] = ContextVar("kdaif_metadata", default=())


def metadata() -> dict[str, str]:
    """What the client sent beside the request of the call at hand, the binary part left out; of a key the first."""
    return {key: value for key, value in reversed(_METADATA.get()) if isinstance(value, str)}


class Layers(grpc.aio.ServerInterceptor):
    """The one interceptor of the server.

    Args:
        layers: the outermost first.
    """

    def __init__(self, *layers: Layer) -> None:
        self._layers = layers
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The handler of the method with all layers. Runs in the task, and so in the context, of its call."""
        _METADATA.set(handler_call_details.invocation_metadata or ())
        method: str = handler_call_details.method
        known = self._handlers.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None:  # not remembered: anybody may ask for methods that nobody has
            return None
        handler = _reading(handler)
        for layer in reversed(self._layers):
            handler = layer(method, handler)
        self._handlers[method] = handler
        return handler


class Malformed:
    """Stands for a message whose bytes are no message; gRPC itself would answer UNKNOWN and log a traceback."""


def _reading(handler: Handler) -> Handler:
    """The same handler, whose requests are `Malformed` where reading them raises."""
    deserializer = handler.request_deserializer

    def read(data: bytes) -> Any:
        try:
            return deserializer(data)
        except Exception:
            return Malformed()

    return handler if deserializer is None else handler._replace(request_deserializer=read)


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
    return make(behaviour, handler.request_deserializer, handler.response_serializer)

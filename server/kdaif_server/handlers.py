"""What is put around the handlers of all services, whichever of the four kinds of call they answer.

It is put there once for each method, and not for each call: gRPC's own interceptors make everything anew each time,
and three of them cost a server more than a short call itself.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import grpc

Handler = Any  # grpc.RpcMethodHandler, whose stubs hide its attributes
Unary = Callable[[Any, Any], Awaitable[Any]]
Streaming = Callable[[Any, Any], AsyncIterator[Any]]
Layer = Callable[[str, Handler], Handler]
"""Gives the handler of a method something more to do, before or after what it does."""

_NOTHING: Mapping[str, str] = MappingProxyType({})
_METADATA: ContextVar[Mapping[str, str]] = ContextVar("kdaif_metadata", default=_NOTHING)


def metadata() -> Mapping[str, str]:
    """What the client sent beside the request of the call at hand, the binary part left out; of a key the first."""
    return _METADATA.get()


class Layers(grpc.GenericRpcHandler):
    """All methods of a server, each with its layers. Takes the place of a server in ``add_..._to_server``.

    gRPC's generated code also registers each method by its name; `grpc.aio` then waits for calls of each apart, and
    looks at all these waits again at every call, which costs more than the call. So it is asked for any method here.

    Args:
        layers: the outermost first.
    """

    def __init__(self, *layers: Layer) -> None:
        self._layers = layers
        self._handlers: dict[str, Handler] = {}

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Takes the methods of one service."""
        for name, bare in method_handlers.items():
            method, handler = f"/{service_name}/{name}", _reading(bare)
            for layer in reversed(self._layers):
                handler = layer(method, handler)
            self._handlers[method] = handler

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing: these are the same methods, in a form that does not say which."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """The handler of a method; None where there is none. Runs in the task, and so in the context, of its call."""
        sent = handler_call_details.invocation_metadata or ()
        _METADATA.set({key: value for key, value in reversed(sent) if isinstance(value, str)})
        return self._handlers.get(handler_call_details.method)


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
        unary: makes the behaviour where one response is returned.
        streaming: makes it where many are yielded.
    """
    if handler.response_streaming:
        inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        # One that sends its responses itself, and so returns none, as gRPC's own health service does.
        writes = inspect.iscoroutinefunction(inner)
        behaviour: Any = unary(inner) if writes else streaming(inner)
    else:
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        behaviour = unary(inner)
    return make(behaviour, handler.request_deserializer, handler.response_serializer)

"""The layers around every method."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
from kdaif_server.handlers import Handler, Layers, around, metadata


@dataclass
class _Details:
    method: str
    invocation_metadata: tuple[tuple[str, str | bytes], ...]


async def _answer(request: str, context: Any) -> str:
    return f"{request} by {metadata()['caller']}"


def test_a_method_gets_its_layers_once_and_each_call_its_own_metadata() -> None:
    made: list[str] = []

    def layer(name: str) -> Any:
        def put(method: str, handler: Handler) -> Handler:
            made.append(f"{name} {method}")

            def unary(inner: Any) -> Any:
                async def answer(request: str, context: Any) -> str:
                    return f"{name}({await inner(request, context)})"

                return answer

            return around(handler, unary, lambda inner: inner)

        return put

    layers = Layers(layer("outer"), layer("inner"))
    layers.add_registered_method_handlers("s", {"Known": grpc.unary_unary_rpc_method_handler(_answer)})

    async def call(method: str, caller: str) -> str | None:
        found = layers.service(_Details(method, (("caller", caller), ("caller", "not the first"), ("x-bin", b"\0"))))
        return None if found is None else await found.unary_unary("asked", None)

    async def calls() -> list[str | None]:
        return list(await asyncio.gather(call("/s/Known", "a"), call("/s/Unknown", "b"), call("/s/Known", "c")))

    assert asyncio.run(calls()) == ["outer(inner(asked by a))", None, "outer(inner(asked by c))"]
    assert asyncio.run(calls()) == ["outer(inner(asked by a))", None, "outer(inner(asked by c))"]
    assert made == ["inner /s/Known", "outer /s/Known"]

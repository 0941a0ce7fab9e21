"""An ``AsyncClient`` that looks like a ``Client``, so that one suite holds for both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from kdaif_client import AsyncClient, AsyncJob, AsyncLine


class InLoop:
    """Runs what an object of the async client gives in the loop's thread, and waits for it here."""

    def __init__(self, loop: asyncio.AbstractEventLoop, held: Any, known: dict[int, InLoop]) -> None:
        self._loop, self._held, self._known = loop, held, known
        known[id(held)] = self

    def __getattr__(self, name: str) -> Any:
        found = self._value(getattr(self._held, name))
        if not inspect.ismethod(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            bare = [each._held if isinstance(each, InLoop) else each for each in args]
            return self._value(found(*bare, **kwargs))

        return call

    def __repr__(self) -> str:
        return repr(self._held)

    def _value(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            return self._value(self._run(value))
        if isinstance(value, AsyncIterator):
            return self._items(value)
        if isinstance(value, AsyncClient | AsyncJob | AsyncLine):
            return self._known.get(id(value)) or InLoop(self._loop, value, self._known)
        return value

    def _items(self, items: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._value(self._run(anext(items)))
                except StopAsyncIteration:
                    return
        finally:
            self._run(items.aclose())

    def _run(self, awaitable: Any) -> Any:
        async def run() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(120)


@contextmanager
def in_loop(target: str, **options: Any) -> Iterator[Any]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def made() -> AsyncClient:
        return AsyncClient(target, **options)

    try:
        client = InLoop(loop, asyncio.run_coroutine_threadsafe(made(), loop).result(10), {})
        yield client
        client.close()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

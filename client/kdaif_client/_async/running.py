"""What coroutines need besides the wire; ``kdaif_client._running`` has the same names for threads."""

from __future__ import annotations

import asyncio
from asyncio import Lock
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import ParamSpec, TypeVar

__all__ = ["Lock", "entered", "first", "in_thread", "together"]

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs what reads files or takes long beside the event loop."""
    return await asyncio.to_thread(work, *args, **kwargs)


@asynccontextmanager
async def entered(context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """A context whose entering and leaving take long, such as one that writes a file."""
    value = await in_thread(context.__enter__)
    try:
        yield value
    except BaseException as error:
        if not await in_thread(context.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await in_thread(context.__exit__, None, None, None)


async def first(items: AsyncIterator[T], limit: int | None) -> AsyncIterator[T]:
    """At most ``limit`` of the items, and no more than these are asked for."""
    given = 0
    while limit is None or given < limit:
        try:
            item = await anext(items)
        except StopAsyncIteration:
            return
        yield item
        given += 1


async def together(work: Callable[[T], Awaitable[None]], items: Iterable[T], most: int) -> None:
    """Works on the items in order, on at most so many at a time. The first that fails ends it."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    workers = [asyncio.create_task(worker()) for _ in range(most)]
    try:
        await asyncio.gather(*workers)
    finally:
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

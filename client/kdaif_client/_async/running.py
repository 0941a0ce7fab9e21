"""What coroutines need besides the wire; ``kdaif_client._running`` has the same names for threads."""

from __future__ import annotations

import asyncio
from asyncio import Lock
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import ParamSpec, TypeVar

__all__ = ["Lock", "entered", "first", "in_thread"]

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

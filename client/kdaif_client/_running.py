"""What threads need besides the wire; ``kdaif_client._async.running`` has the same names for coroutines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import islice
from threading import Lock
from typing import ParamSpec, TypeVar

__all__ = ["Lock", "entered", "first", "in_thread", "together"]

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs it here: the caller's thread may wait."""
    return work(*args, **kwargs)


def entered(context: AbstractContextManager[T]) -> AbstractContextManager[T]:
    """The context itself."""
    return context


def first(items: Iterator[T], limit: int | None) -> Iterator[T]:
    """At most ``limit`` of the items, and no more than these are asked for."""
    return islice(items, limit)


def together(work: Callable[[T], None], items: Iterable[T], most: int) -> None:
    """Works on the items in order, on at most so many at a time. The first that fails ends it."""
    with ThreadPoolExecutor(most, thread_name_prefix="kdaif") as pool:
        begun = [pool.submit(work, item) for item in items]
        try:
            for each in begun:
                each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise

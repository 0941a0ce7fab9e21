# Generated from _async/paging.py by tools/generate_blocking.py; edit that, then run `make blocking`.
"""Lists that come page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kdaif_client._rpc import Rpc

_PAGE = 1000


def pages(rpc: Rpc, method: Any, request: Any) -> Iterator[Any]:
    """The answers to a request for a list, each asked for when it is wanted."""
    while True:
        page = rpc.call(method, request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def page_size(limit: int | None, most: int = _PAGE) -> int:
    """How many items to ask for where at most ``limit`` are wanted, and a page may hold ``most``."""
    return most if limit is None else max(1, min(limit, most))

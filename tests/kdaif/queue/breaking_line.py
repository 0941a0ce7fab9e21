"""A line to a server of Redis that hangs up when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import unquote, urlsplit


@contextlib.asynccontextmanager
async def line_to(url: str, last_words: Callable[[bytes, bytes], bytes | None]) -> AsyncIterator[str]:
    """Yields the URL of a TCP line to the server behind the Unix socket of `url`.

    Args:
        url: the server's.
        last_words: of a request and its answer what goes out of it before the line hangs up; None lets it pass whole.
    """
    path = unquote(urlsplit(url).path)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(path)
        try:
            while request := await reader.read(1 << 16):
                server_writer.write(request)
                reply = await server_reader.read(1 << 16)
                last = last_words(request, reply)
                writer.write(reply if last is None else last)
                if last is not None:
                    await writer.drain()
                    return
        except ConnectionError:
            return
        finally:
            server_writer.close()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()

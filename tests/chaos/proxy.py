"""A loopback TCP proxy that breaks connections on demand: refused, frozen, or with the answer lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any

_CHUNK_BYTES = 65_536


class Network:
    """An event loop in a thread of its own, in which all proxies of a run live."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def proxy(self, upstream: Path | int) -> Proxy:
        """A proxy to a Unix socket or to a loopback port; listens from here on."""
        proxy = Proxy(self, upstream)
        self.run(proxy.listen())
        self._proxies.append(proxy)
        return proxy

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs in the loop, and waits for the end."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _close(self) -> None:
        for proxy in self._proxies:
            await proxy.close()
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class Proxy:
    """Between one program and one server. The faults block their caller until they are over; one at a time."""

    def __init__(self, network: Network, upstream: Path | int) -> None:
        self._network = network
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._refuses = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._busy = threading.Lock()
        self.port = 0
        self.lost_bytes = 0

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in set(self._links):
            link.cut()

    def turn_to(self, upstream: Path | int) -> None:
        """Connections from here on go to another server; those that are there stay."""
        self._upstream = upstream

    @property
    def connections(self) -> int:
        return len(self._links)

    @property
    def is_stalled(self) -> bool:
        return not self._flows.is_set()

    @property
    def loses_answers(self) -> bool:
        return any(link.loses_answers for link in set(self._links))

    def drop(self, seconds: float) -> bool:
        """Resets all connections, and every new one for so long. False: another fault is under way."""
        return self._fault(self._drop(seconds))

    def stall(self, seconds: float) -> bool:
        """Moves no byte for so long; then everything that waited arrives."""
        return self._fault(self._stall(seconds))

    def lose_answers(self, seconds: float) -> bool:
        """Requests go through for so long, but their answers are thrown away; then the connections are reset."""
        return self._fault(self._lose_answers(seconds))

    def _fault(self, work: Coroutine[Any, Any, None]) -> bool:
        if not self._busy.acquire(blocking=False):
            work.close()
            return False
        try:
            self._network.run(work)
        finally:
            self._busy.release()
        return True

    async def _drop(self, seconds: float) -> None:
        self._refuses = True
        for link in set(self._links):
            link.cut()
        await asyncio.sleep(seconds)
        self._refuses = False

    async def _stall(self, seconds: float) -> None:
        self._flows.clear()
        await asyncio.sleep(seconds)
        self._flows.set()

    async def _lose_answers(self, seconds: float) -> None:
        deaf = set(self._links)
        for link in deaf:
            link.loses_answers = True
        await asyncio.sleep(seconds)
        for link in deaf:
            self.lost_bytes += link.lost_bytes
            link.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            _reset(writer)
            return
        try:
            if isinstance(self._upstream, Path):
                far = await asyncio.open_unix_connection(str(self._upstream), limit=_CHUNK_BYTES)
            else:
                far = await asyncio.open_connection("127.0.0.1", self._upstream, limit=_CHUNK_BYTES)
        except OSError:
            _reset(writer)
            return
        link = _Link(self._flows, (reader, writer), far)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


class _Link:
    """One connection through the proxy."""

    def __init__(
        self,
        flows: asyncio.Event,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._flows = flows
        self._near = near
        self._far = far
        self.loses_answers = False
        self.lost_bytes = 0

    async def run(self) -> None:
        pumps = {
            asyncio.create_task(self._pump(self._near[0], self._far[1], is_answer=False)),
            asyncio.create_task(self._pump(self._far[0], self._near[1], is_answer=True)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self.cut()

    def cut(self) -> None:
        for _, writer in (self._near, self._far):
            _reset(writer)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK_BYTES):
                await self._flows.wait()
                if is_answer and self.loses_answers:
                    self.lost_bytes += len(data)
                    continue
                sink.write(data)
                await sink.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection as a crash or a broken network does, not by a farewell."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # closed already
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

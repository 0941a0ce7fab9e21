"""A TCP proxy on the loopback that can swallow every byte, as a network that drops packets does: nothing is closed."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType


class SwallowingProxy:
    """Passes bytes to a Unix socket until told to swallow them. Connections that lost bytes stay lost."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._swallowed: set[socket.socket] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._pass_on)
        self.swallows = False
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> SwallowingProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        for each in [self._listener, *self._peers]:
            each.close()
        self._selector.close()

    def _pass_on(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(timeout=0.05):
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is self._listener:
                    self._accept()
                elif ready in self._peers:
                    self._move(ready)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        self._peers |= {client: server, server: client}
        for each in (client, server):
            self._selector.register(each, selectors.EVENT_READ)

    def _move(self, source: socket.socket) -> None:
        target = self._peers[source]
        try:
            data = source.recv(65_536)
        except OSError:
            data = b""
        if not data:
            for each in (source, target):
                self._selector.unregister(each)
                self._peers.pop(each)
                each.close()
        elif self.swallows or source in self._swallowed:
            self._swallowed |= {source, target}
        else:
            with contextlib.suppress(OSError):
                target.sendall(data)

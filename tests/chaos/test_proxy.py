import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import Network, Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that answers each line with itself."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection, connection.makefile("rwb", buffering=0) as stream:
            try:
                for line in stream:
                    stream.write(line)
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Network() as network:
        yield network.proxy(echo)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        assert said(connection, b"first\n") == b"first\n"
        yield connection


def said(connection: socket.socket, line: bytes) -> bytes:
    connection.sendall(line)
    return connection.recv(100)


def first_byte(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(1)


def test_dropped_connections_are_reset_and_new_ones_refused_until_it_is_over(
    proxy: Proxy, client: socket.socket
) -> None:
    fault = threading.Thread(target=proxy.drop, args=(0.3,))
    fault.start()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionResetError):
        first_byte(proxy.port)
    fault.join()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as third:
        assert said(third, b"again\n") == b"again\n"


def test_a_stalled_connection_goes_on_afterwards(proxy: Proxy, client: socket.socket) -> None:
    fault = threading.Thread(target=proxy.stall, args=(0.4,))
    started = time.monotonic()
    fault.start()
    while not proxy.is_stalled:
        time.sleep(0.001)
    assert said(client, b"late\n") == b"late\n"
    assert time.monotonic() - started > 0.35
    fault.join()


def test_a_lost_answer_is_one_to_a_request_that_went_through(proxy: Proxy, client: socket.socket) -> None:
    fault = threading.Thread(target=proxy.lose_answers, args=(0.3,))
    fault.start()
    while not proxy.loses_answers:
        time.sleep(0.001)
    with pytest.raises(ConnectionResetError):
        said(client, b"unanswered\n")
    fault.join()
    assert proxy.lost_bytes == len(b"unanswered\n")


def test_one_fault_at_a_time(proxy: Proxy) -> None:
    fault = threading.Thread(target=proxy.stall, args=(0.3,))
    fault.start()
    while not proxy.is_stalled:
        time.sleep(0.001)
    assert not proxy.drop(0.1)
    fault.join()
    assert proxy.drop(0.0)

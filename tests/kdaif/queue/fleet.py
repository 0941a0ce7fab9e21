"""Several real servers at once: a Cluster, a primary with its replica and Sentinels, a server behind TLS."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdaif_server.embedded.valkey import wheel_binary
from redis import Redis
from redis.exceptions import RedisError

from tests.waiting import wait_for

_DURABLE = {"appendonly": "yes", "appendfsync": "always", "save": '""', "maxmemory-policy": "noeviction"}


def free_ports(count: int) -> list[int]:
    """Loopback ports below 50,000, so that a Cluster's bus, 10,000 above, has one too."""
    with contextlib.ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            if port < 50_000:
                found.append(port)
    return found


@contextlib.contextmanager
def server(
    folder: Path, port: int, directives: Mapping[str, str], *, binary: Path | None = None, sentinel: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """One server process in a folder of its own; killed at the end."""
    folder.mkdir(parents=True)
    configuration = folder / "server.conf"
    given = {"dir": str(folder), "port": str(port), "bind": "127.0.0.1"} | ({} if sentinel else _DURABLE)
    configuration.write_text("".join(f"{name} {value}\n" for name, value in (given | directives).items()))
    command = [str(binary or wheel_binary()), str(configuration), *(["--sentinel"] if sentinel else [])]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answers(client: Redis) -> bool:
    """Whether a server answers."""
    try:
        return bool(client.ping())
    except RedisError:
        return False


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, Sequence[Redis]]]:
    """URL of a three-node Valkey Cluster of primaries, and a client of each."""
    ports = free_ports(3)
    directives = {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf", "cluster-node-timeout": "2000"}
    with contextlib.ExitStack() as running:
        nodes: list[Any] = []
        for position, port in enumerate(ports):
            running.enter_context(server(folder / str(port), port, directives))
            node = running.enter_context(Redis(port=port, decode_responses=True))
            wait_for(lambda node=node: answers(node))
            node.execute_command(
                "CLUSTER", "ADDSLOTSRANGE", position * 5461, 16383 if position == 2 else (position + 1) * 5461 - 1
            )
            node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", position + 1)
            nodes.append(node)
        for port in ports[1:]:
            nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port)
        for node in nodes:
            wait_for(lambda node=node: "cluster_state:ok" in node.execute_command("CLUSTER", "INFO"))
            wait_for(lambda node=node: "cluster_known_nodes:3" in node.execute_command("CLUSTER", "INFO"))
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        yield f"redis+cluster://{hosts}", nodes


@contextlib.contextmanager
def watched_pair(folder: Path) -> Iterator[tuple[str, Sequence[subprocess.Popen[bytes]], Redis]]:
    """URL of a primary with a replica behind three Sentinels; the two servers' processes; a client of one Sentinel."""
    primary, replica, *sentinels = free_ports(5)
    with contextlib.ExitStack() as running:
        data = {"requirepass": "pw", "masterauth": "pw", "repl-diskless-sync-delay": "0"}
        first = running.enter_context(server(folder / "primary", primary, data))
        following = data | {"replicaof": f"127.0.0.1 {primary}"}
        second = running.enter_context(server(folder / "replica", replica, following))
        follower = running.enter_context(Redis(port=replica, password="pw"))
        wait_for(lambda: answers(follower) and follower.info("replication")["master_link_status"] == "up")
        for port in sentinels:
            watch = {
                "requirepass": "spw",
                "sentinel monitor kdaif": f"127.0.0.1 {primary} 2",
                "sentinel auth-pass kdaif": "pw",
                "sentinel sentinel-pass": "spw",
                "sentinel down-after-milliseconds kdaif": "500",
                "sentinel failover-timeout kdaif": "3000",
            }
            running.enter_context(server(folder / f"sentinel-{port}", port, watch, sentinel=True))
        watcher = running.enter_context(Redis(port=sentinels[0], password="spw", decode_responses=True))

        def knows_all() -> bool:
            if not answers(watcher):
                return False
            state = watcher.sentinel_master("kdaif")
            return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2)

        wait_for(knows_all)
        hosts = ",".join(f"127.0.0.1:{port}" for port in sentinels)
        yield f"redis+sentinel://:pw@{hosts}/kdaif/0?sentinel_password=spw", (first, second), watcher


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-made certificate for 127.0.0.1 and its key."""
    made, key = folder / "made.crt", folder / "made.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kdaif"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)),
        ],
        check=True,
        capture_output=True,
    )
    return made, key

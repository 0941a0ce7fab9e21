"""URLs of Redis or Valkey: one server, a service behind Sentinels, or a Cluster.

    redis://[user:password@]host[:6379][/0]                       rediss:// for TLS
    unix://[user:password@]/path/of.sock[?db=0]
    redis+sentinel://[user:password@]host[:26379],host/service[/0]     rediss+sentinel:// for TLS
    redis+cluster://[user:password@]host[:6379],host                   rediss+cluster:// for TLS

Options stand behind ``?``: ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``, ``ssl_check_hostname`` and
``ssl_cert_reqs`` of TLS, ``sentinel_username`` and ``sentinel_password`` of the Sentinels themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit

from redis.asyncio.connection import parse_url

from kdaif.errors import InvalidInputError

_FORMS = (
    "write redis://host:port/0 (rediss:// for TLS), unix:///path, redis+sentinel://host:port,host:port/service or "
    "redis+cluster://host:port,host:port"
)
_OF_SENTINELS = {"sentinel_username": "username", "sentinel_password": "password"}
_OPTIONS = {
    "db",
    "username",
    "password",
    "client_name",
    "health_check_interval",
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_min_version",
    "ssl_ciphers",
}


class Topology(Enum):
    """How many servers stand behind a URL, and who knows the right one."""

    ONE_SERVER = auto()
    SENTINEL = auto()
    CLUSTER = auto()


_SCHEMES = {
    "redis": Topology.ONE_SERVER,
    "rediss": Topology.ONE_SERVER,
    "unix": Topology.ONE_SERVER,
    "redis+sentinel": Topology.SENTINEL,
    "rediss+sentinel": Topology.SENTINEL,
    "redis+cluster": Topology.CLUSTER,
    "rediss+cluster": Topology.CLUSTER,
}
_PORTS = {Topology.SENTINEL: 26379, Topology.CLUSTER: 6379}


@dataclass(frozen=True)
class Address:
    """What a URL says.

    Attributes:
        topology: of the servers.
        hosts: host and port of the Sentinels, or of some nodes of the Cluster; empty for one server.
        service: that the Sentinels watch.
        is_tls: whether connections are encrypted.
        options: of each connection, as redis-py calls them; empty for one server, whose URL redis-py reads itself.
        sentinel_options: of the connections to the Sentinels.
    """

    topology: Topology
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    is_tls: bool = False
    options: tuple[tuple[str, Any], ...] = ()
    sentinel_options: tuple[tuple[str, str], ...] = ()


def parse(url: str) -> Address:
    """Raises InvalidInputError, which shows the URL without its password."""
    parts = urlsplit(url)
    topology = _SCHEMES.get(parts.scheme)
    if topology is None:
        raise _wrong(url, f"has no scheme that kdaif knows; {_FORMS}")
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    unknown = sorted(options.keys() - _OPTIONS - _OF_SENTINELS.keys())
    if unknown:
        raise _wrong(url, f"has the unknown option {unknown[0]!r}; choose from {', '.join(sorted(_OPTIONS))}")
    if topology is Topology.ONE_SERVER:
        return Address(topology)
    path = [unquote(part) for part in parts.path.split("/") if part]
    if topology is Topology.CLUSTER and path:
        raise _wrong(url, "has a path, but a Cluster has neither services nor numbered databases; leave it out")
    if topology is Topology.SENTINEL and not path:
        raise _wrong(url, f"names no service; {_FORMS}")
    return Address(
        topology=topology,
        hosts=_hosts(url, parts, _PORTS[topology]),
        service=path[0] if path else "",
        is_tls=parts.scheme.startswith("rediss"),
        options=tuple(_connection_options(parts, options, path[1:]).items()),
        sentinel_options=tuple((_OF_SENTINELS[name], options[name]) for name in options.keys() & _OF_SENTINELS.keys()),
    )


def without_password(url: str) -> str:
    """The URL as it may be logged."""
    return re.sub("//.*@", "//***@", url.partition("?")[0])


def _hosts(url: str, parts: SplitResult, default_port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for text in parts.netloc.rpartition("@")[2].split(","):
        host = urlsplit(f"//{text}")
        try:
            port = host.port
        except ValueError:
            raise _wrong(url, f"has a port that is none in {text!r}; {_FORMS}") from None
        if not host.hostname:
            raise _wrong(url, f"has an empty host; {_FORMS}")
        found.append((host.hostname, default_port if port is None else port))
    return tuple(found)


def _connection_options(parts: SplitResult, options: dict[str, str], database: list[str]) -> dict[str, Any]:
    """What redis-py reads from the URL of one server with the same user, password and options."""
    kept = {name: text for name, text in options.items() if name not in _OF_SENTINELS}
    user, at, _ = parts.netloc.rpartition("@")
    scheme = parts.scheme.partition("+")[0]
    read = dict(parse_url(f"{scheme}://{user}{at}localhost/{'/'.join(database)}?{urlencode(kept)}"))
    # The class follows from is_tls, and the host is whichever serves at the time.
    return {name: value for name, value in read.items() if name not in {"host", "connection_class"}}


def _wrong(url: str, why: str) -> InvalidInputError:
    return InvalidInputError.of("redis_url", f"{without_password(url)!r} {why}")

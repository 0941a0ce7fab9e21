"""What the client shows: an API key or token, and over TLS its certificate."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from kdaif_client.errors import InvalidArgument

_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True)
class Credentials:
    """Who calls, and how the connection is kept from others.

    Attributes:
        api_key: ``kd_...``, or a token of an identity provider; empty for a server that asks nobody.
        tls: an encrypted connection; implied by any of the files.
        root_certificates: PEM, of the authority that signed the server's certificate; None for the system's.
        client_certificate: PEM, for a server that wants to see one; goes with ``client_key``.
        client_key: PEM, its private key.
        plaintext_key: send the key over an unencrypted connection to another machine, where the network is one's own.
        public_key: PEM, by which students must be signed; None takes them unsigned.
    """

    api_key: str = field(default="", repr=False)
    tls: bool = False
    root_certificates: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    plaintext_key: bool = False
    public_key: Path | None = None

    def metadata(self) -> tuple[tuple[str, str], ...] | None:
        """What goes with each call."""
        return (("authorization", f"Bearer {self.api_key}"),) if self.api_key else None

    def channel(self, target: str, options: list[tuple[str, Any]]) -> grpc.Channel:
        """The connection, which opens when it is used first.

        Raises:
            InvalidArgument: files that do not go together or cannot be read, or a key that others would see.
        """
        tls = self._tls(target)
        if tls is None:
            return grpc.insecure_channel(target, options=options)
        return grpc.secure_channel(target, tls, options=options)

    def async_channel(
        self, target: str, options: list[tuple[str, Any]], interceptors: list[grpc.aio.ClientInterceptor]
    ) -> grpc.aio.Channel:
        """`channel` for coroutines."""
        tls = self._tls(target)
        if tls is None:
            return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
        return grpc.aio.secure_channel(target, tls, options=options, interceptors=interceptors)

    def _tls(self, target: str) -> grpc.ChannelCredentials | None:
        """None for a connection that is not encrypted, where that gives no key away."""
        if bool(self.client_certificate) != bool(self.client_key):
            raise InvalidArgument.of("client_certificate", "and client_key go together; give both, or neither")
        if self.tls or self.root_certificates or self.client_certificate:
            files = (self.root_certificates, self.client_key, self.client_certificate)
            return grpc.ssl_channel_credentials(*(None if file is None else _read(file) for file in files))
        if self.api_key and not self.plaintext_key and not _stays_here(target):
            raise InvalidArgument.of(
                "api_key",
                f"would go to {target} unencrypted, for anybody on the way to read. Use TLS (tls=True, or "
                "root_certificates=... for an authority of your own; --tls or --root-certificates on the command "
                "line), or if the network is your own say so: plaintext_key=True, or KDAIF_PLAINTEXT_KEY=true",
            )
        return None


NO_CREDENTIALS = Credentials()


def given_or_environment(
    *,
    api_key: str | None,
    tls: bool | None,
    root_certificates: str | Path | None,
    client_certificate: str | Path | None,
    client_key: str | Path | None,
    plaintext_key: bool | None,
    public_key: str | Path | None,
    environment: Mapping[str, str] = os.environ,
) -> Credentials:
    """What was given, and for what was not, ``KDAIF_API_KEY`` (or ``KDAIF_API_KEY_FILE``) and so on.

    Raises:
        InvalidArgument: a file cannot be read, or the key cannot be one.
    """
    if api_key is None:
        api_key = environment.get("KDAIF_API_KEY", "")
        if not api_key and (file := environment.get("KDAIF_API_KEY_FILE")):
            api_key = read_key(Path(file))
    api_key = api_key.strip()
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise InvalidArgument.of("api_key", "has characters that no key has; was something else copied with it?")
    return Credentials(
        api_key,
        _flag(tls, environment, "KDAIF_TLS"),
        _path(root_certificates, environment, "KDAIF_ROOT_CERTIFICATES"),
        _path(client_certificate, environment, "KDAIF_CLIENT_CERTIFICATE"),
        _path(client_key, environment, "KDAIF_CLIENT_KEY"),
        _flag(plaintext_key, environment, "KDAIF_PLAINTEXT_KEY"),
        _path(public_key, environment, "KDAIF_PUBLIC_KEY"),
    )


def read_key(file: Path) -> str:
    """The key in a file. Raises InvalidArgument."""
    try:
        text = file.expanduser().read_text("utf-8").strip()
    except OSError as error:
        raise InvalidArgument.of("api_key_file", f"{file} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InvalidArgument.of("api_key_file", f"{file} is no text; it must hold the key alone") from None
    if not text:
        raise InvalidArgument.of("api_key_file", f"{file} is empty; it must hold the key alone")
    return text


def _path(given: str | Path | None, environment: Mapping[str, str], name: str) -> Path | None:
    found = given if given is not None else environment.get(name)
    return Path(found).expanduser() if found else None


def _flag(given: bool | None, environment: Mapping[str, str], name: str) -> bool:
    return given if given is not None else environment.get(name, "").lower() in _TRUE


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidArgument.of(str(file), f"cannot be read ({error.strerror}); give a file in PEM") from None


def _stays_here(target: str) -> bool:
    """Whether nothing leaves this machine on the way to the target."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    host = target.rsplit("/", 1)[-1].rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

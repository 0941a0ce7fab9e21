"""Who can reach the server, and whether that is safe; and its certificates."""

from __future__ import annotations

import time
from pathlib import Path

import grpc

from kdaif.errors import FailedPreconditionError, InvalidInputError
from kdaif_server.access.loopback import is_loopback
from kdaif_server.settings import ServerSettings

_LOOK_AGAIN_S = 60.0


def check_exposure(settings: ServerSettings) -> None:
    """Raises InvalidInputError where others could reach a server that asks nobody, or could listen to its keys."""
    if bool(settings.tls_cert_file) != bool(settings.tls_key_file):
        raise InvalidInputError.of("tls_cert_file", "and tls_key_file go together; give both, or none for plaintext")
    if settings.tls_client_ca_file and not settings.tls_cert_file:
        raise InvalidInputError.of("tls_client_ca_file", "goes with tls_cert_file and tls_key_file of the server")
    if is_loopback(settings.host):
        return
    if settings.authentication != "on":
        raise InvalidInputError.of(
            "host",
            f"is {settings.host}, which other machines can reach, and the server asks nobody who they are. Turn "
            "authentication on (--authentication on, or KDAIF_AUTHENTICATION=on) and make keys with "
            "'kdaif-server keys create', or listen on 127.0.0.1",
        )
    if not settings.tls_cert_file and not settings.plaintext:
        raise InvalidInputError.of(
            "host",
            f"is {settings.host}, which other machines can reach, and without TLS whoever is on the way reads the "
            "keys. Give a certificate (--tls-cert-file and --tls-key-file), or where a proxy or a mesh in front ends "
            "TLS: --plaintext, or KDAIF_PLAINTEXT=true",
        )


def credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    """Of the certificate, read again when its files change; None for plaintext. With a client CA it is mutual TLS.

    Raises:
        FailedPreconditionError: a file cannot be read.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    files = _Certificates(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    return grpc.dynamic_ssl_server_credentials(
        files.configuration(),
        files.changed,  # type: ignore[arg-type]  # the stubs forget that None means no change
        require_client_authentication=settings.tls_client_ca_file is not None,
    )


class _Certificates:
    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._key, self._certificate, self._client_ca = key, certificate, client_ca
        self._seen = self._times()
        self._looked_at_s = time.monotonic()

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        client_ca = None if self._client_ca is None else _read(self._client_ca)
        return grpc.ssl_server_certificate_configuration([(_read(self._key), _read(self._certificate))], client_ca)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC for each new connection; None for no change. What cannot be read leaves the old in force."""
        now = time.monotonic()
        if now - self._looked_at_s < _LOOK_AGAIN_S:
            return None
        self._looked_at_s = now
        try:
            times = self._times()
            if times == self._seen:
                return None
            found = self.configuration()
        except (OSError, FailedPreconditionError):
            return None
        self._seen = times
        return found

    def _times(self) -> tuple[int, ...]:
        files = (self._key, self._certificate, self._client_ca)
        return tuple(file.stat().st_mtime_ns for file in files if file is not None and file.exists())


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise FailedPreconditionError(
            f"{file} cannot be read ({error.strerror}); it must hold a certificate or a key in PEM"
        ) from error

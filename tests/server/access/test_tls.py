"""TLS and mutual TLS between a real server and the SDK, and who may listen where without it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from kdaif_client import Client
from kdaif_client.errors import DeadlineExceeded, InvalidArgument, Unauthenticated, Unavailable
from kdaif_server.access import exposure
from kdaif_server.access.exposure import check_exposure
from kdaif_server.access.keys import KeyFile
from kdaif_server.access.scopes import Scope
from kdaif_server.server import running_server
from kdaif_server.settings import ServerSettings

from kdaif.errors import InvalidInputError
from tests.server.access.certificates import Authority
from tests.server.serving import serving

NO_ANSWER = (Unavailable, DeadlineExceeded)
HANDSHAKE = r"TLS handshake|in time"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - refused, or never bound


def _settings(valkey_url: str, folder: Path, **more: object) -> tuple[ServerSettings, str]:
    settings = ServerSettings(
        redis_url=valkey_url, data_dir=folder / "data", port=0, authentication="on", drain_s=0.5, **more
    )  # type: ignore[arg-type]
    _, key = KeyFile(settings.key_file).create("default", frozenset({Scope.ADMIN}))
    return settings, key


def test_tls_with_an_authority_of_ones_own(valkey_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.pair("server")
    settings, key = _settings(valkey_url, tmp_path, tls_cert_file=own.certificate, tls_key_file=own.key)
    with serving(settings) as target:
        with Client(target, api_key=key, root_certificates=authority.file) as client:
            assert list(client.list_jobs()) == []
        with (
            Client(target, root_certificates=authority.file) as client,
            pytest.raises(Unauthenticated, match="api_key"),
        ):
            list(client.list_jobs())
        with Client(target, api_key=key, timeout_s=1.5) as plain, pytest.raises(NO_ANSWER):
            list(plain.list_jobs())
        with (
            Client(target, api_key=key, tls=True, timeout_s=1.5) as stranger,
            pytest.raises(NO_ANSWER, match=HANDSHAKE),
        ):
            list(stranger.list_jobs())  # the system knows no such authority


def test_mutual_tls_wants_a_certificate_of_the_right_authority(valkey_url: str, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "ca"), Authority(tmp_path, "other")
    own, good, bad = authority.pair("server"), authority.pair("client"), other.pair("stranger")
    settings, key = _settings(
        valkey_url,
        tmp_path,
        tls_cert_file=own.certificate,
        tls_key_file=own.key,
        tls_client_ca_file=authority.file,
    )
    with serving(settings) as target:
        with Client(
            target,
            api_key=key,
            root_certificates=authority.file,
            client_certificate=good.certificate,
            client_key=good.key,
        ) as client:
            assert list(client.list_jobs()) == []
        with (
            Client(target, api_key=key, root_certificates=authority.file, timeout_s=1.5) as none,
            pytest.raises(NO_ANSWER),
        ):
            list(none.list_jobs())
        with (
            Client(
                target,
                api_key=key,
                root_certificates=authority.file,
                client_certificate=bad.certificate,
                client_key=bad.key,
                timeout_s=1.5,
            ) as stranger,
            pytest.raises(NO_ANSWER),
        ):
            list(stranger.list_jobs())


def test_a_new_certificate_needs_no_restart(valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "_LOOK_AGAIN_S", 0.0)
    first, second = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    own, following = first.pair("server"), second.pair("server")
    settings, key = _settings(valkey_url, tmp_path, tls_cert_file=own.certificate, tls_key_file=own.key)
    with serving(settings) as target:
        with Client(target, api_key=key, root_certificates=first.file) as client:
            assert list(client.list_jobs()) == []
        following.key.replace(own.key)
        following.certificate.replace(own.certificate)
        with Client(target, api_key=key, root_certificates=second.file) as client:
            assert list(client.list_jobs()) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"host": EVERYWHERE}, r"asks nobody who they are.*--authentication on.*keys create"),
        ({"host": "::", "authentication": "off"}, "asks nobody"),
        ({"host": "kdaif.example"}, "asks nobody"),
        ({"host": "10.0.0.7", "authentication": "on"}, r"reads the keys.*--tls-cert-file.*--plaintext"),
        ({"tls_cert_file": Path("/c.pem")}, "go together"),
        ({"tls_client_ca_file": Path("/c.pem")}, "goes with"),
    ],
)
def test_what_others_could_reach_or_read_does_not_start(given: dict[str, object], told: str, tmp_path: Path) -> None:
    async def start() -> None:
        # Before Redis is looked for: there is none at this address.
        async with running_server(ServerSettings(data_dir=tmp_path, redis_url="redis://127.0.0.1:1/0", **given)):  # type: ignore[arg-type]
            pass

    with pytest.raises(InvalidInputError, match=told):
        asyncio.run(start())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"])
def test_on_the_loopback_nobody_needs_to_be_asked(host: str) -> None:
    check_exposure(ServerSettings(host=host))


def test_behind_something_that_ends_tls_it_starts() -> None:
    check_exposure(ServerSettings(host=EVERYWHERE, authentication="on", plaintext=True))


@pytest.mark.parametrize("target", ["kdaif.example:50051", "10.0.0.7:50051", "dns:///kdaif.example:50051"])
def test_the_sdk_sends_no_key_that_others_could_read(target: str) -> None:
    with pytest.raises(InvalidArgument, match=r"unencrypted.*root_certificates.*plaintext_key"):
        Client(target, api_key="kd_x_y")
    Client(target, api_key="kd_x_y", tls=True).close()
    Client(target, api_key="kd_x_y", plaintext_key=True).close()
    Client("[::1]:50051", api_key="kd_x_y").close()
    Client("localhost:50051", api_key="kd_x_y").close()


def test_the_sdk_takes_the_key_from_the_environment_or_a_file(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, key = _settings(valkey_url, tmp_path)
    file = tmp_path / "key"
    file.write_text(f"{key}\n")
    with serving(settings) as target:
        monkeypatch.setenv("KDAIF_API_KEY_FILE", str(file))
        with Client(target) as client:
            assert list(client.list_jobs()) == []
        monkeypatch.setenv("KDAIF_API_KEY", key[:-1] + "0" if key[-1] != "0" else key[:-1] + "1")
        with Client(target) as client, pytest.raises(Unauthenticated):
            list(client.list_jobs())
    with pytest.raises(InvalidArgument, match="characters that no key has"):
        Client("localhost:1", api_key="kd x\ny")
    with pytest.raises(InvalidArgument, match="cannot be read"):
        Client("localhost:1", root_certificates=tmp_path / "missing.pem")

"""Who may ask, what every answer carries, and which forms are believed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from kdaif_server.dashboard.address import Address
from kdaif_server.settings import ServerSettings

from kdaif.errors import InvalidInputError, UnavailableError
from kdaif.records import JobState
from tests.server.dashboard.site import ORIGIN, Site, visit

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        (":8080", "127.0.0.1", 8080),
        ("localhost:0", "127.0.0.1", 0),
        ("[::1]:9000", "::1", 9000),
    ],
)
def test_it_listens_on_this_machine(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)


@pytest.mark.parametrize("text", ["0.0.0.0:8080", "[::]:8080", "10.0.0.7:8080", "example.org:80"])
def test_it_refuses_to_be_reached_from_elsewhere_and_says_why(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"other machines can reach.*asks nobody who they are"):
        _ = ServerSettings(dashboard=text).dashboard_address


@pytest.mark.parametrize("text", ["8080", "localhost", "127.0.0.1:99999", "::1:80", "a b:1"])
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"write HOST:PORT|other machines"):
        Address.parse(text)


def test_it_is_off_unless_asked_for() -> None:
    assert ServerSettings().dashboard_address is None
    assert ServerSettings(dashboard="off").dashboard_address is None


def test_a_port_that_is_taken_is_told_or_replaced() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1:{port}"):
            Address("127.0.0.1", port).bind()
        with Address("127.0.0.1", port).bind(or_free=True) as free:
            assert free.getsockname()[1] not in (0, port)


def test_every_answer_carries_the_headers(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        await site.submit()
        for path in ("/tenants/default/jobs", "/nowhere", "/static/dashboard.js", "/tenants/BAD NAME/jobs", "/"):
            headers = (await site.http.get(path)).headers
            assert headers["content-security-policy"].startswith(POLICY)
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert "set-cookie" not in headers

    visit(valkey_url, tmp_path, use)


def test_an_error_that_nobody_meant_tells_nothing_and_keeps_the_headers(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(site: Site) -> None:
        async def broken(*args: object, **kwargs: object) -> None:
            raise ZeroDivisionError("secret")

        monkeypatch.setattr(site.queue, "list", broken)
        answer = await site.http.get("/tenants/default/jobs")
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert "server&#39;s log" in answer.text
        assert answer.headers["content-security-policy"].startswith(POLICY)

    visit(valkey_url, tmp_path, use)


def test_pages_hold_no_inline_script_or_style(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        job = await site.submit()
        await site.succeed(["a", "b"], [0.5, 1.5])
        for page in ("", "/weights", "/samples", "/sample?id=a", "/overrides", "/compare"):
            text = await site.page(f"/tenants/default/jobs/{job.id}{page}")
            assert " style=" not in text
            assert "<style" not in text
            assert text.count("<script") == text.count('<script src="/static/')
            assert " onclick" not in text

    visit(valkey_url, tmp_path, use)


def test_a_foreign_name_that_points_here_is_turned_away(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""):
            answer = await site.http.get("/tenants/default/jobs", headers={"host": host})
            assert answer.status_code == 421
        for host in ("localhost:9999", "[::1]:8080", "127.0.0.1"):
            assert (await site.http.get("/tenants/default/jobs", headers={"host": host})).status_code == 200

    visit(valkey_url, tmp_path, use)


def test_forms_from_elsewhere_change_nothing(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        job = await site.submit()
        other = await site.submit()
        action = f"/tenants/default/jobs/{job.id}/cancel"
        page = await site.page(f"/tenants/default/jobs/{job.id}")
        token = page.split(f'action="{action}"')[1].split('value="')[1].split('"')[0]
        good = {"origin": ORIGIN}
        attempts: list[tuple[str, dict[str, str], dict[str, str]]] = [
            (action, {}, good),
            (action, {"csrf": "0" * 64}, good),
            (action, {"csrf": token}, {}),
            (action, {"csrf": token}, {"origin": "http://evil.example"}),
            (action, {"csrf": token}, {"origin": "null"}),
            (action, {"csrf": token}, good | {"sec-fetch-site": "cross-site"}),
            (f"/tenants/default/jobs/{other.id}/cancel", {"csrf": token}, good),
        ]
        for path, fields, headers in attempts:
            answer = await site.http.post(path, data=fields, headers=headers)
            assert answer.status_code in (400, 403, 415), (path, fields, headers)
        assert (await site.http.post(action, json={"csrf": token}, headers=good)).status_code == 415
        assert (await site.http.post(action, data={"csrf": "x" * 99_999}, headers=good)).status_code == 413
        assert (await site.http.get(action)).status_code == 405
        for each in (job, other):
            assert (await site.queue.get("default", each.id)).state is JobState.QUEUED
        answer = await site.http.post(action, data={"csrf": token}, headers=good)
        assert answer.status_code == 303
        assert (await site.queue.get("default", job.id)).state is JobState.CANCELLED

    visit(valkey_url, tmp_path, use)

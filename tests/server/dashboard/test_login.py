"""The dashboard of a server that asks who calls: each page and form with no key, another's key, and one for it."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import httpx2
import pytest
from kdaif_server.access.authentication import Authentication
from kdaif_server.access.keys import KeyFile
from kdaif_server.access.scopes import Scope
from kdaif_server.dashboard.app import make_app

from tests.server.dashboard.site import ORIGIN, Site, visit

JOB = "/tenants/acme/jobs/0123456789abcdef"
PAGES = {
    "/tenants/acme/jobs": Scope.JOBS,
    "/tenants/acme/events": Scope.JOBS,
    JOB: Scope.JOBS,
    f"{JOB}/events": Scope.JOBS,
    f"{JOB}/curves.json": Scope.JOBS,
    f"{JOB}/compare": Scope.JOBS,
    f"{JOB}/weights": Scope.WEIGHTS,
    f"{JOB}/weights.json": Scope.WEIGHTS,
    f"{JOB}/samples": Scope.WEIGHTS,
    f"{JOB}/sample": Scope.WEIGHTS,
    f"{JOB}/overrides": Scope.WEIGHTS,
    "/tenants/acme/students": Scope.STUDENTS,
    "/tenants/acme/students/0123456789abcdef": Scope.STUDENTS,
    "/tenants/acme/students/0123456789abcdef/files/student.onnx": Scope.STUDENTS,
}
FORMS = {
    f"{JOB}/cancel": Scope.JOBS,
    f"{JOB}/retry": Scope.JOBS,
    f"{JOB}/rerun": Scope.JOBS,
    f"{JOB}/resume": Scope.REVIEW,
    f"{JOB}/reject": Scope.REVIEW,
    f"{JOB}/decide": Scope.REVIEW,
}


def basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"ann:{key}".encode()).decode()}


def test_every_page_and_form_wants_a_key_for_it(valkey_url: str, tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    _, expired = keys.create("acme", frozenset({Scope.ADMIN}), expires_after_s=0)
    _, foreign = keys.create("rival", frozenset({Scope.ADMIN}))
    of_scope = {scope: keys.create("acme", frozenset({scope}))[1] for scope in Scope}

    async def use(site: Site) -> None:
        transport = httpx2.ASGITransport(app=make_app(site.backend, Authentication(keys)), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as http:

            async def status(method: str, path: str, headers: dict[str, str]) -> int:
                answer = await asyncio.wait_for(http.request(method, path, headers=headers), 20)
                assert "content-security-policy" in answer.headers
                assert (answer.status_code == 401) == ("www-authenticate" in answer.headers)
                return answer.status_code

            asked = [("GET", path, scope) for path, scope in PAGES.items()]
            asked += [("POST", path, scope) for path, scope in FORMS.items()]
            for method, path, scope in asked:
                for shown in ({}, {"authorization": "Basic !"}, {"authorization": "Bearer x"}, basic(expired)):
                    assert await status(method, path, shown) == 401, (path, shown)
                assert await status(method, path, basic(foreign)) == 404, path
                others = {each for each in Scope if each not in (scope, Scope.ADMIN)}
                assert {await status(method, path, basic(of_scope[each])) for each in others} == {403}, path
                if not path.endswith("acme/events"):  # which stays open
                    # A form without the token of a page of ours goes no further than that.
                    allowed = {403} if method == "POST" else {200, 404}
                    assert await status(method, path, basic(of_scope[scope])) in allowed, path
            assert await status("POST", "/tenants/acme/jobs", basic(of_scope[Scope.JOBS])) == 403
            assert await status("GET", "/static/dashboard.css", {}) == 401
            home = await http.get("/", headers=basic(of_scope[Scope.JOBS]))
            assert home.headers["location"] == "/tenants/acme/jobs"

    visit(valkey_url, tmp_path, use)


def test_a_page_that_stays_open_ends_with_its_key(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdaif_server.dashboard import login

    monkeypatch.setattr(login, "_CHECK_AGAIN_S", 0.0)
    keys = KeyFile(tmp_path / "keys.json")
    key, text = keys.create("acme", frozenset({Scope.JOBS}))

    async def app(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        for part in (b"one", b"two", b"three"):
            await send({"type": "http.response.body", "body": part, "more_body": True})  # type: ignore[operator]
            if part == b"one":
                keys.revoke(key.id)

    sent: list[bytes] = []

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.body":
            sent.append(bytes(message["body"]))  # type: ignore[call-overload]

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def run() -> None:
        headers = [(b"authorization", basic(text)["authorization"].encode())]
        scope = {"type": "http", "method": "GET", "path": "/tenants/acme/jobs", "headers": headers}
        await login.Login(app, Authentication(keys))(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(run())
    assert sent == [b"one", b""]

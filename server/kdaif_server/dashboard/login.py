"""Who looks at the dashboard, where the server asks: an API key as the password that the browser asks for."""

from __future__ import annotations

import base64
import re
import time

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kdaif.errors import FailedPreconditionError, KdaifError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from kdaif_server.access import scopes
from kdaif_server.access.authentication import Authentication, require_scope, require_tenant
from kdaif_server.access.caller import Caller, become

_CHALLENGE = {"www-authenticate": 'Basic realm="kdaif: any name, and an API key as the password", charset="UTF-8"'}
_STATUSES = {UnauthenticatedError: 401, PermissionDeniedError: 403, NotFoundError: 404, FailedPreconditionError: 503}
_OF_TENANT = re.compile(r"/tenants/([^/]*)(/.*)?")
_OF_JOB = r"/jobs/[^/]+"
# The first that fits. What changes something and is in none of these needs the scope admin.
_NEEDED = [
    (("POST",), re.compile(rf"{_OF_JOB}/(resume|reject|decide)"), scopes.Scope.REVIEW),
    (("POST",), re.compile(rf"{_OF_JOB}/(cancel|retry|rerun)"), scopes.Scope.JOBS),
    (("GET", "HEAD"), re.compile(rf"{_OF_JOB}/(weights|weights\.json|samples|sample|overrides)"), scopes.Scope.WEIGHTS),
    (("GET", "HEAD"), re.compile(r"/(students|lines)(/.*)?"), scopes.Scope.STUDENTS),
    (("GET", "HEAD"), re.compile(r"/audit"), scopes.Scope.REVIEW),
    (("GET", "HEAD"), re.compile(r".*"), scopes.Scope.JOBS),
]
_CHECK_AGAIN_S = 1.0


class Login:
    """Lets through who has a key for the tenant and the page. There is no cookie: the browser sends the key each time.

    A form of another site would carry it too; such forms are refused by where they come from and by their token.
    """

    def __init__(self, app: ASGIApp, authentication: Authentication) -> None:
        self._app = app
        self._authentication = authentication

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._caller(Headers(scope=scope).get("authorization", ""))
            _require(caller, scope["method"], scope["path"])
        except KdaifError as error:
            status = next((code for kind, code in _STATUSES.items() if isinstance(error, kind)), 503)
            refusal = PlainTextResponse(str(error), status, _CHALLENGE if status == 401 else None)
            await refusal(scope, receive, send)
            return
        become(caller)
        await self._app(scope, receive, self._sending(caller, send))

    async def _caller(self, authorization: str) -> Caller:
        kind, _, shown = authorization.partition(" ")
        if not authorization:
            raise UnauthenticatedError("This dashboard asks for an API key: give it as the password, with any name.")
        if kind.lower() != "basic":
            return await self._authentication.caller(authorization)
        try:
            _, colon, password = base64.b64decode(shown, validate=True).decode().partition(":")
        except ValueError:
            colon = ""
        if not colon:
            raise UnauthenticatedError("The header authorization cannot be read.")
        return await self._authentication.of_secret(password.strip())

    def _sending(self, caller: Caller, send: Send) -> Send:
        """A page that stays open ends with the key that opened it."""
        checked_at_s, ended = time.monotonic(), False

        async def sending(message: Message) -> None:
            nonlocal checked_at_s, ended
            if ended:
                return
            if message["type"] == "http.response.body" and time.monotonic() - checked_at_s > _CHECK_AGAIN_S:
                checked_at_s = time.monotonic()
                try:
                    self._authentication.still(caller)
                except KdaifError:
                    ended = True
                    message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        return sending


def _require(caller: Caller, method: str, path: str) -> None:
    found = _OF_TENANT.fullmatch(path)
    if found is None:
        return  # the way home, and files of this package
    require_tenant(caller, found[1], path)
    rest = found[2] or ""
    needed = (scope for methods, form, scope in _NEEDED if method in methods and form.fullmatch(rest))
    require_scope(caller, next(needed, scopes.Scope.ADMIN))

"""What every request has to pass, and what every answer carries."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kdaif_server.dashboard.address import LOCAL_NAMES

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Without an origin of our own forms, we could not tell them from forms elsewhere; others learn nothing.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_PORT = re.compile(r":[0-9]{1,5}$")
_FORM_TYPE = "application/x-www-form-urlencoded"
_MOST_FORM_BYTES = 65_536
_MOST_FIELDS = 20


class Guard:
    """Refuses requests under a foreign name, and puts the headers of safety on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        host = Headers(scope=scope).get("host", "")
        if _PORT.sub("", host) not in LOCAL_NAMES:
            names = ", ".join(sorted(LOCAL_NAMES))
            refusal = PlainTextResponse(f"This dashboard answers under {names} only, not {host!r}.", 421)
            await refusal(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)


class Tokens:
    """Shows that a form came from a page of ours.

    There is no cookie, so a token stands for itself: the keyed hash of where the form goes, under a secret that lives
    as long as the process. A page elsewhere can neither read one from our pages nor make one.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def of(self, path: str) -> str:
        """The token of a form that is sent to ``path``."""
        return hmac.new(self._secret, path.encode(), hashlib.sha256).hexdigest()

    def check(self, path: str, token: str) -> None:
        """Raises HTTPException (403) for a token of something else."""
        if not hmac.compare_digest(self.of(path).encode(), token.encode()):
            raise HTTPException(403, "This page is from before the server started. Load it again, and send it again.")


async def read_form(request: Request, tokens: Tokens) -> Mapping[str, str]:
    """The fields of a form that a page of ours sent, each with its last value.

    Raises:
        HTTPException: 403 when it came from elsewhere, 413 and 415 when it is no small form.
    """
    headers = request.headers
    if headers.get("origin") != f"{request.url.scheme}://{headers.get('host', '')}":
        raise HTTPException(403, "The form was sent by another page than this dashboard's. Open it here, and send it.")
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise HTTPException(403, "The form was sent by another site.")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise HTTPException(415, f"Send a form as {_FORM_TYPE}.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_FORM_BYTES:
            raise HTTPException(413, f"The form has more than {_MOST_FORM_BYTES:,} bytes.")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise HTTPException(400, "The form cannot be read.") from error
    form = {name: values[-1] for name, values in fields.items()}
    tokens.check(request.url.path, form.get("csrf", ""))
    return form

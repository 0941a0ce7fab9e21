"""Before every call: who it is, what they may do, whose data it is about, and how much they have called."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from kdaif_server.access import requests
from kdaif_server.access.authentication import Authentication, require_scope, require_tenant
from kdaif_server.access.caller import Caller, become
from kdaif_server.access.limits import Limiter
from kdaif_server.access.scopes import OPEN, Scope, scope_of
from kdaif_server.handlers import Handler, Streaming, Unary, around, metadata

_CHECK_AGAIN_S = 1.0
_OURS = "/kdaif."
_EVERYTHING = frozenset({Scope.ADMIN})


class Access:
    """A `Layer` that stands inside of the one that turns errors into statuses.

    Args:
        authentication: None where nobody is asked who they are; the limits then hold for the tenant that they name.
        limiter: counts calls and streams by tenant.
    """

    def __init__(self, authentication: Authentication | None, limiter: Limiter) -> None:
        self._authentication = authentication
        self._limiter = limiter

    def __call__(self, method: str, handler: Handler) -> Handler:
        """Open methods stay as they are."""
        if method.startswith(OPEN):
            return handler
        guard = _Guard(self._authentication, self._limiter, method)
        return around(
            handler,
            lambda unary: guard.guarded_unary(unary, streams=handler.request_streaming),
            lambda streaming: guard.guarded_stream(streaming, streams=handler.request_streaming),
        )


class _Guard:
    """The calls of one method."""

    def __init__(self, authentication: Authentication | None, limiter: Limiter, method: str) -> None:
        self._authentication = authentication
        self._limiter = limiter
        self._scope = scope_of(method) if method.startswith(_OURS) else None

    def guarded_unary(self, behaviour: Unary, *, streams: bool) -> Unary:
        async def guarded(request: Any, context: Any) -> Any:
            caller = await self._known()
            if not streams:
                self._begin(self._checked(caller, request))
                return await behaviour(request, context)
            async with AsyncExitStack() as held:
                return await behaviour(self._received(caller, request, held), context)

        return guarded

    def guarded_stream(self, behaviour: Streaming, *, streams: bool) -> Streaming:
        async def guarded(request: Any, context: Any) -> AsyncIterator[Any]:
            caller = await self._known()
            async with AsyncExitStack() as held:
                if streams:
                    request = self._received(caller, request, held)
                else:
                    caller = self._checked(caller, request)
                    self._begin(caller)
                    held.enter_context(self._limiter.stream(caller.tenant))
                checked_at_s = time.monotonic()
                async for response in behaviour(request, context):
                    if self._authentication and caller and time.monotonic() - checked_at_s > _CHECK_AGAIN_S:
                        self._authentication.still(caller)
                        checked_at_s = time.monotonic()
                    yield response

        return guarded

    async def _known(self) -> Caller | None:
        """Who calls, with the scope for it; None where nobody is asked."""
        if self._authentication is None:
            return None
        caller = await self._authentication.caller(metadata().get("authorization", ""))
        become(caller)
        if self._scope is not None:
            require_scope(caller, self._scope)
        return caller

    def _checked(self, caller: Caller | None, request: Any) -> Caller:
        """Who calls, where the request is about their own data."""
        resource = requests.resource_of(request)
        tenant = requests.tenant_of(resource)
        if caller is None:
            return Caller(tenant, scopes=_EVERYTHING)
        if tenant:
            require_tenant(caller, tenant, resource)
        return caller

    def _begin(self, caller: Caller) -> None:
        become(caller)
        self._limiter.take(caller.tenant)

    async def _received(
        self, caller: Caller | None, messages: AsyncIterator[Any], held: AsyncExitStack
    ) -> AsyncIterator[Any]:
        """The messages of a stream, of which the first tells whose data it is about, and no later one tells another."""
        begun = False
        async for message in messages:
            if not begun or requests.resource_of(message):
                known = self._checked(caller, message)
            if not begun:
                begun = True
                self._begin(known)
                held.enter_context(self._limiter.stream(known.tenant))
            yield message

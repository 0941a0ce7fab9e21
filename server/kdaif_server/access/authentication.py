"""From what a caller shows to who it is; the same for calls and for the dashboard."""

from __future__ import annotations

import asyncio
import time

from kdaif.errors import NotFoundError, PermissionDeniedError, UnauthenticatedError
from kdaif_server.access.caller import Caller
from kdaif_server.access.keys import KeyFile
from kdaif_server.access.scopes import Scope
from kdaif_server.access.tokens import TokenVerifier

_PREFIX = "kd_"


class Authentication:
    """API keys, and tokens where an identity provider is set."""

    def __init__(self, keys: KeyFile, tokens: TokenVerifier | None = None) -> None:
        self._keys = keys
        self._tokens = tokens

    @property
    def can_be_passed(self) -> bool:
        """Whether anybody at all could be known. Raises FailedPreconditionError for a broken file of keys."""
        return self._tokens is not None or any(key.state == "active" for key in self._keys.all())

    async def caller(self, authorization: str) -> Caller:
        """Whose call it is.

        Args:
            authorization: the header: ``Bearer`` and a key or a token.

        Raises:
            UnauthenticatedError: nobody who is known.
        """
        kind, _, shown = authorization.partition(" ")
        if not authorization:
            raise UnauthenticatedError(
                "This server asks who calls: send an API key, by Client(..., api_key=...) or KDAIF_API_KEY, or as the "
                "header 'authorization: Bearer kd_...'."
            )
        if kind.lower() != "bearer" or not shown.strip():
            raise UnauthenticatedError("The header authorization has another form than 'Bearer' and a key or a token.")
        return await self.of_secret(shown.strip())

    async def of_secret(self, shown: str) -> Caller:
        """Who has this key or token. Raises UnauthenticatedError."""
        if self._tokens is None or shown.startswith(_PREFIX):
            return self._keys.caller(shown)
        return await asyncio.to_thread(self._tokens.caller, shown)

    def still(self, caller: Caller) -> None:
        """Raises UnauthenticatedError where who began a long call would not be let in any more."""
        if caller.expires_at_s is not None and time.time() >= caller.expires_at_s:
            raise UnauthenticatedError("The key or token ran out during the call; come back with a new one.")
        if caller.secret_sha256:
            self._keys.still(caller)


def require_scope(caller: Caller, scope: Scope) -> None:
    """Raises PermissionDeniedError that names the scope."""
    if not caller.may(scope):
        held = ", ".join(sorted(caller.scopes)) or "none"
        raise PermissionDeniedError(
            f"This needs the scope {scope}; {caller.key_id} has {held}. Ask whoever runs the server for a key with it."
        )


def require_tenant(caller: Caller, tenant: str, name: str) -> None:
    """Raises NotFoundError for another tenant's name, as for one that nobody has: it may not learn which."""
    if tenant != caller.tenant:
        raise NotFoundError(f"There is no {name[:200]!r} that this key can see; it is of the tenant {caller.tenant!r}.")

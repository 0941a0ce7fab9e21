"""Who is calling, known to everything that runs in the call."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from kdaif_server.access.scopes import Scope


@dataclass(frozen=True)
class Caller:
    """A tenant's key or token, after it was checked.

    Attributes:
        tenant: whose data it may see; where nobody is asked who they are, the tenant of the request.
        key_id: the public part of an API key, or ``jwt:`` and the subject of a token; empty where nobody is asked.
        scopes: what it may do.
        expires_at_s: Unix seconds from which it holds no more; None for never.
        secret_sha256: of the key's secret, so that a long call ends with the secret that began it; empty for a token.
    """

    tenant: str
    key_id: str = ""
    scopes: frozenset[Scope] = frozenset()
    expires_at_s: float | None = None
    secret_sha256: str = ""

    def __repr__(self) -> str:
        return f"Caller({self.tenant!r}, key_id={self.key_id!r})"

    def may(self, scope: Scope) -> bool:
        """Whether it has the scope; an administrator of a tenant has all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


_current: ContextVar[Caller | None] = ContextVar("kdaif_caller", default=None)


def current() -> Caller | None:
    """Who makes the call that this code runs in; None outside of a call, or before it was checked."""
    return _current.get()


def become(caller: Caller) -> None:
    """Sets who it is for the rest of the call. gRPC runs each call in a task, and so in a context, of its own."""
    _current.set(caller)

"""An identity provider."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Issuer:
    """Whose tokens are believed, and where they say what.

    Attributes:
        jwks: the provider's keys: an absolute path or ``https://...`` (``http://`` on the loopback alone).
        issuer: must equal the claim ``iss``.
        audience: must be in the claim ``aud``.
        tenant_claim: names the claim that holds the tenant.
        scope_claim: names the claim that holds the scopes, as words in a text or as a list.
    """

    jwks: str
    issuer: str
    audience: str
    tenant_claim: str = "tenant"
    scope_claim: str = "scope"

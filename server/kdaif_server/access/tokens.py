"""JSON Web Tokens of an identity provider, checked against its published keys."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt

from kdaif.errors import FailedPreconditionError, InvalidInputError, UnauthenticatedError, UnavailableError
from kdaif.store import layout
from kdaif_server.access.caller import Caller
from kdaif_server.access.issuer import Issuer
from kdaif_server.access.scopes import Scope

# Asymmetric ones alone: with a shared secret whoever checks tokens could make them, and "none" is signed by nobody.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_KEY_TYPES = frozenset({"RSA", "EC", "OKP"})
_LEEWAY_S = 30.0
_FETCH_TIMEOUT_S = 5.0
_FRESH_S = 300.0
_REFETCH_S = 10.0  # whoever sends made-up key ids does not make us ask more often
_MOST_JWKS_BYTES = 1 << 20
_LONGEST_TOKEN = 16_384
_LONGEST_SUBJECT = 64


@dataclass
class _Known:
    keys: Mapping[str, jwt.PyJWK] = field(default_factory=dict)
    read_at_s: float = float("-inf")


class TokenVerifier:
    """Checks tokens. Threads may share one instance. May fetch the keys, so call it in a thread.

    Raises:
        InvalidInputError: the place of the keys has another form.
    """

    def __init__(self, issuer: Issuer) -> None:
        _check_place(issuer.jwks)
        self._issuer = issuer
        self._lock = threading.Lock()
        self._known = _Known()

    def caller(self, token: str) -> Caller:
        """Whose token it is.

        Raises:
            UnauthenticatedError: it is not of the issuer, not for us, expired, or names no tenant.
            UnavailableError: the keys cannot be fetched.
        """
        try:
            if len(token) > _LONGEST_TOKEN:
                raise UnauthenticatedError(f"The token has more than {_LONGEST_TOKEN:,} characters.")
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise UnauthenticatedError(f"The token is signed by an algorithm other than {', '.join(ALGORITHMS)}.")
            claims = jwt.decode(
                token,
                self._key(header.get("kid")),
                algorithms=list(ALGORITHMS),
                issuer=self._issuer.issuer,
                audience=self._issuer.audience,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", self._issuer.tenant_claim]},
            )
        except jwt.ExpiredSignatureError:
            raise UnauthenticatedError("The token is expired; get a new one from the identity provider.") from None
        except (jwt.PyJWTError, ValueError) as error:
            raise UnauthenticatedError(
                f"The token is not believed ({type(error).__name__}): it must be signed by {self._issuer.issuer}, for "
                f"the audience {self._issuer.audience}, with the claims exp and {self._issuer.tenant_claim}."
            ) from None
        return self._of_claims(claims)

    def _of_claims(self, claims: Mapping[str, Any]) -> Caller:
        try:
            tenant = layout.tenant_id(str(claims[self._issuer.tenant_claim]))
        except InvalidInputError:
            raise UnauthenticatedError(
                f"The claim {self._issuer.tenant_claim} of the token is no name of a tenant: lower-case letters, "
                "digits and hyphens, at most 63."
            ) from None
        said = claims.get(self._issuer.scope_claim, "")
        words = said.split() if isinstance(said, str) else [str(word) for word in said if isinstance(word, str)]
        scopes = frozenset(Scope(word) for word in words if word in Scope.__members__.values())
        subject = re.sub(r"[^0-9A-Za-z@._|-]", "?", str(claims.get("sub", "")))[:_LONGEST_SUBJECT]
        return Caller(tenant, f"jwt:{subject}", scopes, float(claims["exp"]) + _LEEWAY_S)

    def _key(self, key_id: object) -> jwt.PyJWK:
        with self._lock:
            age_s = time.monotonic() - self._known.read_at_s
            unknown = isinstance(key_id, str) and key_id not in self._known.keys
            if age_s > _FRESH_S or (unknown and age_s > _REFETCH_S):
                self._refresh()
            keys = self._known.keys
        if isinstance(key_id, str) and key_id in keys:
            return keys[key_id]
        if key_id is None and len(keys) == 1:
            return next(iter(keys.values()))
        raise UnauthenticatedError("The token is signed by a key that the identity provider does not publish.")

    def _refresh(self) -> None:
        try:
            self._known = _Known(_parsed(_read(self._issuer.jwks)), time.monotonic())
        except (OSError, urllib.error.URLError) as error:
            if not self._known.keys:
                raise UnavailableError(
                    f"Could not read the keys of the identity provider at {self._issuer.jwks} ({error}); try again."
                ) from error
            # The old ones go on: a provider that is away for a while must not lock everybody out.
            self._known = _Known(self._known.keys, time.monotonic() - _FRESH_S + _REFETCH_S)


def _check_place(jwks: str) -> None:
    parts = urlsplit(jwks)
    on_loopback = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not on_loopback and not Path(jwks).is_absolute():
        raise InvalidInputError.of("jwt_jwks", f"is {jwks!r}; write an absolute path, or https://...")


def _read(jwks: str) -> bytes:
    if Path(jwks).is_absolute():
        return Path(jwks).read_bytes()
    with urllib.request.urlopen(jwks, timeout=_FETCH_TIMEOUT_S) as answer:  # noqa: S310 - https, or the loopback
        data: bytes = answer.read(_MOST_JWKS_BYTES)
    return data


def _parsed(data: bytes) -> Mapping[str, jwt.PyJWK]:
    """The public keys by their id; shared secrets and keys for encryption are left out."""
    try:
        told = json.loads(data)["keys"]
        usable = [key for key in told if key.get("kty") in _KEY_TYPES and key.get("use", "sig") == "sig"]
        return {str(key.get("kid", "")): jwt.PyJWK.from_dict(key) for key in usable}
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise FailedPreconditionError(
            f"the keys of the identity provider cannot be read as a JWK Set ({type(error).__name__}); see jwt_jwks"
        ) from error

"""Tokens: what is believed, and the ways in which others have been fooled."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from kdaif_server.access import tokens
from kdaif_server.access.issuer import Issuer
from kdaif_server.access.scopes import Scope
from kdaif_server.access.tokens import TokenVerifier
from kdaif_server.settings import ServerSettings

from kdaif.errors import InvalidInputError, UnauthenticatedError, UnavailableError

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwks(**keys: Any) -> bytes:
    told = []
    for name, key in keys.items():
        of = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
        told.append(json.loads(of.to_jwk(key.public_key())) | {"kid": name, "use": "sig"})
    told.append({"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(b"s" * 32).decode()})
    return json.dumps({"keys": told}).encode()


def token(key: Any = RSA, kid: str | None = "one", algorithm: str = "RS256", **claims: Any) -> str:
    whole = {
        "iss": "https://idp.example",
        "aud": "kdaif",
        "sub": "ann",
        "exp": time.time() + 60,
        "tenant": "acme",
        "scope": "openid jobs datasets",
    } | claims
    headers = {} if kid is None else {"kid": kid}
    given = {name: value for name, value in whole.items() if value is not None}
    return jwt.encode(given, key, algorithm=algorithm, headers=headers)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    (tmp_path / "jwks.json").write_bytes(jwks(one=RSA, two=EC))
    return Issuer(str(tmp_path / "jwks.json"), "https://idp.example", "kdaif")


def test_a_token_says_tenant_and_scopes(issuer: Issuer) -> None:
    caller = TokenVerifier(issuer).caller(token())
    assert (caller.tenant, caller.key_id) == ("acme", "jwt:ann")
    assert caller.scopes == {Scope.JOBS, Scope.DATASETS}
    assert TokenVerifier(issuer).caller(token(EC, "two", "ES256", scope=["admin"])).scopes == {Scope.ADMIN}
    named = replace(issuer, tenant_claim="org", scope_claim="roles")
    assert TokenVerifier(named).caller(token(org="rival", roles=["review", 7])).scopes == {Scope.REVIEW}


def _unsigned() -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"iss": "https://idp.example", "aud": "kdaif", "exp": time.time() + 60, "tenant": "acme"}
    return f"{part({'alg': 'none', 'kid': 'one'})}.{part(claims)}."


def _signed_with_the_public_key() -> str:
    """By a library that does not look: PyJWT itself refuses to make one."""
    import hashlib
    import hmac

    public = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head, body, _ = _unsigned().split(".")
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "one"}).encode()).decode().rstrip("=")
    mac = hmac.new(public, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


FORGED = {
    "expired": lambda: token(exp=time.time() - 3600),
    "no end": lambda: token(exp=None),
    "another issuer": lambda: token(iss="https://evil.example"),
    "another audience": lambda: token(aud="mail"),
    "no audience": lambda: token(aud=None),
    "no tenant": lambda: token(tenant=None),
    "a tenant that is a path": lambda: token(tenant="../acme"),
    "not yet": lambda: token(nbf=time.time() + 3600),
    "signed by a stranger": lambda: token(STRANGER),
    "an unknown key": lambda: token(STRANGER, "three"),
    "no key named where there are two": lambda: token(kid=None),
    "the key of another algorithm": lambda: token(EC, "one", "ES256"),
    "unsigned": _unsigned,
    "signed with the public key as if it were shared": _signed_with_the_public_key,
    "signed with the shared key": lambda: token("s" * 32, "shared", "HS256"),
    "cut": lambda: token()[:-5],
    "no token": lambda: "a.b.c",
    "empty": lambda: "",
    "long": lambda: "a" * 100_000,
    "no text": lambda: "\x00é",
}


@pytest.mark.parametrize("kind", FORGED)
def test_no_other_token_is_believed(kind: str, issuer: Issuer) -> None:
    shown = FORGED[kind]()
    with pytest.raises(UnauthenticatedError) as caught:
        TokenVerifier(issuer).caller(shown)
    assert len(shown) < 8 or shown not in str(caught.value)


class _Provider(BaseHTTPRequestHandler):
    answer = b""
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def provider() -> Iterator[tuple[str, type[_Provider]]]:
    kind = type("Provider", (_Provider,), {"answer": jwks(one=RSA), "asked": 0})
    with HTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/jwks", kind
        finally:
            server.shutdown()
            thread.join()


def test_keys_by_url_are_fetched_once_and_again_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with provider() as (url, served):
        verifier = TokenVerifier(Issuer(url, "https://idp.example", "kdaif"))
        for _ in range(5):
            verifier.caller(token(kid=None))
        assert served.asked == 1
        served.answer = jwks(one=RSA, two=EC)
        with pytest.raises(UnauthenticatedError, match="does not publish"):
            verifier.caller(token(EC, "two", "ES256"))  # asked a moment ago
        assert served.asked == 1
        monkeypatch.setattr(tokens, "_REFETCH_S", -1.0)
        assert verifier.caller(token(EC, "two", "ES256")).tenant == "acme"
        assert served.asked == 2
    monkeypatch.setattr(tokens, "_FRESH_S", -1.0)
    assert verifier.caller(token()).tenant == "acme"  # the provider is away, and its keys go on


def test_a_provider_that_never_answered_is_told_as_such() -> None:
    verifier = TokenVerifier(Issuer("http://127.0.0.1:1/jwks", "https://idp.example", "kdaif"))
    with pytest.raises(UnavailableError, match="identity provider"):
        verifier.caller(token())


@pytest.mark.parametrize("place", ["http://idp.example/jwks", "jwks.json", "ftp://x/y", "file:///etc/passwd"])
def test_keys_come_from_a_place_that_others_cannot_change(place: str) -> None:
    with pytest.raises(InvalidInputError, match="https"):
        TokenVerifier(Issuer(place, "i", "a"))


def test_an_issuer_is_set_as_a_whole() -> None:
    assert ServerSettings().jwt is None
    with pytest.raises(InvalidInputError, match="all three"):
        _ = ServerSettings(jwt_jwks="/jwks.json").jwt

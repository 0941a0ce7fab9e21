"""Every method x no key, malformed, unknown, revoked, expired, another scope, another tenant; on a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from kdaif_server.access.keys import KeyFile
from kdaif_server.access.requests import NAME_FIELDS
from kdaif_server.access.scopes import SCOPE_OF, Scope
from kdaif_server.embedded.valkey import EmbeddedValkey
from kdaif_server.settings import ServerSettings

from tests.server.access.calling import METHODS, call, code_of, request_for, resource
from tests.server.serving import serving

CODE = grpc.StatusCode
CASES = [
    "no key",
    "another form",
    "another kind",
    "malformed key",
    "unknown key",
    "wrong secret",
    "revoked",
    "expired",
    "wrong scope",
    "wrong tenant",
    "right",
]


@dataclass(frozen=True)
class Asking:
    """A server that asks, and keys for it."""

    channel: grpc.Channel
    keys: KeyFile
    expired: str
    revoked: str
    all_scopes: str
    of_scope: dict[Scope, str]


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    folder = tmp_path_factory.mktemp("asking")
    with EmbeddedValkey(folder / "valkey") as valkey:
        settings = ServerSettings(
            redis_url=valkey.url, data_dir=folder / "data", port=0, authentication="on", drain_s=0.5
        )
        keys = KeyFile(settings.key_file)
        every = frozenset({Scope.ADMIN})
        _, expired = keys.create("acme", every, expires_after_s=0)
        gone, revoked = keys.create("acme", every)
        keys.revoke(gone.id)
        _, all_scopes = keys.create("acme", every)
        of_scope = {scope: keys.create("acme", frozenset({scope}))[1] for scope in Scope}
        with serving(settings) as target, grpc.insecure_channel(target) as channel:
            yield Asking(channel, keys, expired, revoked, all_scopes, of_scope)


def test_every_method_has_a_scope_and_none_has_gone() -> None:
    assert set(SCOPE_OF) == set(METHODS), "decide in kdaif_server/access/scopes.py which scope a new method needs"


def test_every_request_says_whose_data_it_is_about() -> None:
    """In exactly one field, which the guard reads; a request without one would pass for any tenant."""
    without = {
        path: method.input_type.name
        for path, method in METHODS.items()
        if sum(field in method.input_type.fields_by_name for field in NAME_FIELDS) != 1
    }
    assert not without, "requests need one of the fields name and parent (kdaif_server/access/requests.py)"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("path", METHODS)
def test_who_may_call(asking: Asking, path: str, case: str) -> None:
    method = METHODS[path]
    needed = SCOPE_OF[path]
    others = {scope for scope in Scope if scope not in (needed, Scope.ADMIN)}
    right = asking.of_scope[needed]
    own, foreign = request_for(method, "acme"), request_for(method, "rival")
    request = foreign if case == "wrong tenant" else own
    shown: dict[str, str | None] = {
        "no key": None,
        "another form": right,  # without Bearer
        "another kind": f"Basic {right}",
        "malformed key": f"Bearer {right[:-1]}",
        "unknown key": f"Bearer kd_{'a' * 12}_{'0' * 64}",
        "wrong secret": f"Bearer {right[:16]}{'0' * 64}",
        "revoked": f"Bearer {asking.revoked}",
        "expired": f"Bearer {asking.expired}",
        "wrong tenant": f"Bearer {right}",
        "right": f"Bearer {right}",
    }
    if case == "wrong scope":
        found = {code_of(asking.channel, path, own, f"Bearer {asking.of_scope[scope]}") for scope in others}
        assert found == {CODE.PERMISSION_DENIED}
        return
    found_code = code_of(asking.channel, path, request, shown[case])
    if case == "wrong tenant":
        assert found_code is CODE.NOT_FOUND
    elif case == "right":
        # The service itself answers: about nothing that is there, or about a request that is not whole.
        assert found_code in (CODE.OK, CODE.NOT_FOUND, CODE.INVALID_ARGUMENT)
        assert code_of(asking.channel, path, own, f"Bearer {asking.all_scopes}") is found_code
    else:
        assert found_code is CODE.UNAUTHENTICATED


@pytest.mark.parametrize("path", METHODS)
def test_another_tenants_name_answers_as_a_name_that_nobody_has(asking: Asking, path: str) -> None:
    """So that nobody learns what there is: the two answers differ in the name alone."""
    answers = []
    for tenant in ("rival", "nobody"):
        with pytest.raises(grpc.RpcError) as caught:
            call(asking.channel, path, request_for(METHODS[path], tenant), f"Bearer {asking.all_scopes}")
        answers.append(caught.value.details().replace(resource(METHODS[path], tenant), "NAME"))
    assert answers[0] == answers[1]


def test_a_stream_cannot_begin_with_its_own_name_and_go_on_with_anothers(asking: Asking) -> None:
    from kdaif_proto.v1 import datasets_pb2 as pb
    from kdaif_proto.v1 import datasets_pb2_grpc

    stub = datasets_pb2_grpc.DatasetServiceStub(asking.channel)
    metadata = (("authorization", f"Bearer {asking.all_scopes}"),)
    created = stub.CreateDataset(
        pb.CreateDatasetRequest(parent="tenants/acme", display_name="d", sha256="0" * 64, size_bytes=8),
        metadata=metadata,
    )
    rival = created.dataset.name.replace("acme", "rival")
    messages = [pb.WriteDatasetRequest(name=created.dataset.name, data=b"1234"), pb.WriteDatasetRequest(name=rival)]
    with pytest.raises(grpc.RpcError) as caught:
        stub.WriteDataset(iter(messages), metadata=metadata, timeout=20)
    assert caught.value.code() is CODE.NOT_FOUND


def test_a_key_that_is_revoked_ends_at_once_and_one_that_is_rotated_after_its_grace(asking: Asking) -> None:
    path = "/kdaif.v1.DatasetService/ListDatasets"
    request = request_for(METHODS[path], "acme")
    key, text = asking.keys.create("acme", frozenset({Scope.DATASETS}))
    assert code_of(asking.channel, path, request, f"Bearer {text}") is CODE.OK
    _, second = asking.keys.rotate(key.id, grace_s=60)
    assert code_of(asking.channel, path, request, f"Bearer {text}") is CODE.OK
    _, third = asking.keys.rotate(key.id, grace_s=0)
    assert code_of(asking.channel, path, request, f"Bearer {text}") is CODE.UNAUTHENTICATED
    assert code_of(asking.channel, path, request, f"Bearer {second}") is CODE.UNAUTHENTICATED
    assert code_of(asking.channel, path, request, f"Bearer {third}") is CODE.OK
    asking.keys.revoke(key.id)
    assert code_of(asking.channel, path, request, f"Bearer {third}") is CODE.UNAUTHENTICATED


def test_health_is_open(asking: Asking) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    answer = health_pb2_grpc.HealthStub(asking.channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_keys_survive_what_redis_forgets(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "access" / "keys.json")
    key, text = keys.create("acme", frozenset({Scope.JOBS}), expires_after_s=3600)
    again = KeyFile(tmp_path / "access" / "keys.json")
    assert again.caller(text).tenant == "acme"
    kept = (tmp_path / "access" / "keys.json").read_text()
    assert text not in kept
    assert text.rsplit("_", 1)[1] not in kept
    assert (tmp_path / "access" / "keys.json").stat().st_mode & 0o077 == 0
    assert key.expires_at_s is not None
    assert key.expires_at_s > time.time()

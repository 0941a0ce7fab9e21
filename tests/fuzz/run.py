"""Time for chance to find what nobody thought of; what it finds is made small by hypothesis and printed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.files import bent
from tests.fuzz.requests import filters, messages, texts, tokens
from tests.fuzz.world import World
from tests.server.access.calling import METHODS

_BATCH = 25
# These would take away what the others ask about; they get names that are not there.
_DESTRUCTIVE = ("Delete",)
_BYTES = ["WriteDataset", "CreateDistillationJob", "SetOverrides", "ListSampleWeights", "ReportOutcomes"]


def fuzz(of: World, seconds: float, first_seed: int) -> int:
    """Runs the properties in turn until the time is over; returns how many requests were sent."""
    until_s = time.monotonic() + seconds
    for number, batch in enumerate(_batches(of, first_seed)):
        of.logged.clear()
        batch()
        if number % 8 == 0:
            of.check_alive()
        if time.monotonic() >= until_s:
            break
    of.check_alive()
    return sum(of.codes.values())


def _batches(of: World, first_seed: int) -> Iterator[Callable[[], None]]:
    quiet = settings(
        max_examples=_BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    round_number = first_seed
    while True:
        for path, method in METHODS.items():
            known = [] if method.name.startswith(_DESTRUCTIVE) else of.known
            yield seed(round_number)(quiet(_requests(of, path, known)))
            if method.name in _BYTES:
                yield seed(round_number)(quiet(_noise(of, path)))
        for one in (_uploads, _queries, _names):
            yield seed(round_number)(quiet(one(of)))
        round_number += 1


def _requests(of: World, path: str, known: list[str]) -> Callable[[], None]:
    method = METHODS[path]
    name_field = "name" if "name" in method.input_type.fields_by_name else "parent"
    # Most of a request is only looked at where its name is one that is there.
    right = [""] if not known else [name for name in known if _fits(name, method.containing_service.name, name_field)]

    @given(st.lists(messages(method.input_type, known), min_size=1, max_size=3), st.sampled_from([*right, ""]))
    def any_request(requests: list[Any], name: str) -> None:
        for request in requests:
            setattr(request, name_field, name or getattr(request, name_field))
        of.ask(path, [request.SerializeToString() for request in requests])

    return any_request


def _fits(name: str, service: str, name_field: str) -> bool:
    if name_field == "parent":
        return "/distillationJobs/" in name if service == "WeightService" else name.count("/") == 1
    return {"DatasetService": "/datasets/", "StudentService": "/students/"}.get(service, "/distillationJobs/") in name


def _noise(of: World, path: str) -> Callable[[], None]:
    @given(st.binary(max_size=300))
    def any_bytes(data: bytes) -> None:
        of.ask(path, [data])

    return any_bytes


def _uploads(of: World) -> Callable[[], None]:
    @given(bent(), st.integers(0, 4))
    def any_file(data: bytes, kind: int) -> None:
        of.upload(data, kind)

    return any_file


def _queries(of: World) -> Callable[[], None]:
    """Filters, orders and tokens of a job whose weights are there."""
    from kdaif_proto.v1 import weights_pb2 as pb

    parent = of.known[2]

    @given(filters(), filters(), st.one_of(st.just(""), tokens()), st.integers(-1, 3))
    def any_query(condition: str, order: str, token: str, number: int) -> None:
        page = pb.ListSampleWeightsRequest(
            parent=parent, filter=condition, order_by=order, page_token=token, round=max(0, number), page_size=7
        )
        of.ask("/kdaif.v1.WeightService/ListSampleWeights", [page.SerializeToString()])
        stream = pb.StreamSampleWeightsRequest(parent=parent, filter=condition, resume_token=token)
        of.ask("/kdaif.v1.WeightService/StreamSampleWeights", [stream.SerializeToString()])
        summary = pb.SummarizeWeightsRequest(parent=parent, filter=condition)
        of.ask("/kdaif.v1.WeightService/SummarizeWeights", [summary.SerializeToString()])

    return any_query


def _names(of: World) -> Callable[[], None]:
    """Every method that is about one thing, with any name at all."""
    from google.protobuf import message_factory

    @given(st.sampled_from([*METHODS]), texts(of.known))
    def any_name(path: str, name: str) -> None:
        method = METHODS[path]
        if method.name.startswith(_DESTRUCTIVE) and name in of.known:
            return
        request = message_factory.GetMessageClass(method.input_type)()
        setattr(request, "name" if "name" in method.input_type.fields_by_name else "parent", name)
        of.ask(path, [request.SerializeToString()])

    return any_name

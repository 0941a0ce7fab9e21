"""WeightService: the weight of each sample, and what it was made of."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pyarrow as pa
from kdaif_proto.v1 import weights_pb2 as pb
from kdaif_proto.v1 import weights_pb2_grpc

from kdaif.errors import InvalidInputError
from kdaif_server import weights_query
from kdaif_server.artifacts import Artifacts
from kdaif_server.names import parse_name
from kdaif_server.services.paging import decode_token, encode_token, page_size

_MAX_IDS = 1000


class WeightService(weights_pb2_grpc.WeightServiceServicer):
    """Pages are columnar: a million rows cost a quarter of what a message per row does."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def ListSampleWeights(
        self, request: pb.ListSampleWeightsRequest, context: Any
    ) -> pb.ListSampleWeightsResponse:
        """One page, ordered."""
        job = await self._artifacts.succeeded_job(*parse_name(request.parent, "distillationJobs", "parent"))
        limit = page_size(request.page_size, default=1000, most=10_000)
        order = weights_query.order_of(request.order_by)
        offset = _offset(decode_token(request.page_token), request)

        def read() -> pb.ListSampleWeightsResponse:
            round_number, file = self._artifacts.weights_file(self._artifacts.manifest(job), request.round)
            table = weights_query.page(file, order, offset=offset, limit=limit)
            total = weights_query.row_count(file)
            end = offset + table.num_rows
            token = encode_token(f"{end}:{_query_of(request)}") if end < total else ""
            return pb.ListSampleWeightsResponse(
                weights=_columns(table, round_number), next_page_token=token, total_size=total
            )

        return await asyncio.to_thread(read)

    async def BatchGetSampleWeights(
        self, request: pb.BatchGetSampleWeightsRequest, context: Any
    ) -> pb.BatchGetSampleWeightsResponse:
        """The rows of the ids asked for."""
        job = await self._artifacts.succeeded_job(*parse_name(request.parent, "distillationJobs", "parent"))
        if not 1 <= len(request.ids) <= _MAX_IDS:
            raise InvalidInputError.of("ids", f"holds {len(request.ids)} ids; ask for 1 to {_MAX_IDS} at a time")

        def read() -> pb.BatchGetSampleWeightsResponse:
            round_number, file = self._artifacts.weights_file(self._artifacts.manifest(job), request.round)
            table = weights_query.by_ids(file, list(request.ids))
            return pb.BatchGetSampleWeightsResponse(weights=_columns(table, round_number))

        return await asyncio.to_thread(read)


def _query_of(request: pb.ListSampleWeightsRequest) -> str:
    return f"{request.parent}:{request.round}:{request.order_by}"


def _offset(cursor: str, request: pb.ListSampleWeightsRequest) -> int:
    if not cursor:
        return 0
    offset, _, query = cursor.partition(":")
    if query != _query_of(request) or not offset.isdecimal():
        raise InvalidInputError.of("page_token", "belongs to another query; send the same fields with every page")
    return int(offset)


def _columns(table: pa.Table, round_number: int) -> pb.SampleWeights:
    columns = {name: table.column(name).to_pylist() for name in table.column_names if name not in ("id", "round")}
    truth = columns.pop("truth")
    overrides = columns.pop("weight_override", [])  # shards of old jobs have none
    return pb.SampleWeights(
        round=round_number,
        ids=table.column("id").cast(pa.string()).to_pylist(),
        truth=[name or "" for name in truth] if any(truth) else [],
        weight_override=_or_nan(overrides),
        **columns,
    )


def _or_nan(overrides: list[float | None]) -> list[float]:
    """NaN for none; nothing at all where no row of the page has one."""
    if all(value is None for value in overrides):
        return []
    return [math.nan if value is None else value for value in overrides]

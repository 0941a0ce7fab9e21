"""WeightService: the weight of each sample, what it was made of, and a person's word on it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from kdaif_proto.v1 import weights_pb2 as pb
from kdaif_proto.v1 import weights_pb2_grpc

from kdaif.errors import InvalidInputError
from kdaif.records import Job
from kdaif.records.overrides import in_force
from kdaif.records.provenance import Provenance
from kdaif.store.overrides import read_overrides
from kdaif_server import _convert_weights as convert
from kdaif_server.artifacts import Artifacts
from kdaif_server.decisions import record_decisions
from kdaif_server.names import parse_name
from kdaif_server.services.paging import decode_token, encode_token, page_size
from kdaif_server.weights.engine import Engine
from kdaif_server.weights.explained import explained_samples
from kdaif_server.weights.filters import parse_filter
from kdaif_server.weights.pages import order_of, read_page
from kdaif_server.weights.shard import Shard
from kdaif_server.weights.streams import stream_batches
from kdaif_server.weights.summary import summarize

_MAX_IDS = 1000
_MAX_HISTORIES = 100


class WeightService(weights_pb2_grpc.WeightServiceServicer):
    """Pages are columnar: a million rows cost a quarter of what a message per row does."""

    def __init__(self, artifacts: Artifacts, engine: Engine) -> None:
        self._artifacts = artifacts
        self._engine = engine

    async def ListSampleWeights(
        self, request: pb.ListSampleWeightsRequest, context: Any
    ) -> pb.ListSampleWeightsResponse:
        """One page, ordered and filtered."""
        job = await self._job(request.parent)
        limit = page_size(request.page_size, default=1000, most=10_000)
        order = order_of(request.order_by)
        query = _digest(request.parent, request.round, request.order_by, request.filter)
        offset = _position(request.page_token, query, "page_token")

        def read() -> pb.ListSampleWeightsResponse:
            round_number, shard = self._shard(job, request.round)
            condition = parse_filter(request.filter, shard.schema)
            page = read_page(self._engine, shard, condition, order, offset=offset, limit=limit)
            end = offset + page.rows.num_rows
            return pb.ListSampleWeightsResponse(
                weights=convert.columns(page.rows, round_number),
                next_page_token=encode_token(f"{end}:{query}") if end < page.total else "",
                total_size=page.total,
            )

        return await asyncio.to_thread(read)

    async def BatchGetSampleWeights(
        self, request: pb.BatchGetSampleWeightsRequest, context: Any
    ) -> pb.BatchGetSampleWeightsResponse:
        """The rows of the ids asked for."""
        job = await self._job(request.parent)
        _check_count(request.ids, _MAX_IDS)

        def read() -> pb.BatchGetSampleWeightsResponse:
            round_number, shard = self._shard(job, request.round)
            rows = shard.rows_of(list(request.ids))
            return pb.BatchGetSampleWeightsResponse(weights=convert.columns(rows, round_number))

        return await asyncio.to_thread(read)

    async def StreamSampleWeights(
        self, request: pb.StreamSampleWeightsRequest, context: Any
    ) -> AsyncIterator[pb.StreamSampleWeightsResponse]:
        """Record batches by id, each with the token that goes on behind it."""
        job = await self._job(request.parent)
        query = _digest(request.parent, request.round, request.filter)
        start = _position(request.resume_token, query, "resume_token")
        _, shard = await asyncio.to_thread(self._shard, job, request.round)
        condition = parse_filter(request.filter, shard.schema)
        batches = stream_batches(self._engine, shard, condition, start)
        while (found := await asyncio.to_thread(next, batches, None)) is not None:
            data, row = found
            yield pb.StreamSampleWeightsResponse(arrow_ipc=data, resume_token=encode_token(f"{row}:{query}"))

    async def GetWeightHistory(self, request: pb.GetWeightHistoryRequest, context: Any) -> pb.GetWeightHistoryResponse:
        """The rows of the ids, in every scored round."""
        job = await self._job(request.parent)
        _check_count(request.ids, _MAX_HISTORIES)

        def read() -> pb.GetWeightHistoryResponse:
            history = self._artifacts.history(self._artifacts.manifest(job), request.ids)
            return pb.GetWeightHistoryResponse(rounds=[convert.columns(rows, number) for number, rows in history])

        return await asyncio.to_thread(read)

    async def SummarizeWeights(self, request: pb.SummarizeWeightsRequest, context: Any) -> pb.SummarizeWeightsResponse:
        """A round at a glance."""
        job = await self._job(request.parent)

        def read() -> pb.SummarizeWeightsResponse:
            round_number, shard = self._shard(job, request.round)
            found = summarize(self._engine, shard, parse_filter(request.filter, shard.schema))
            return convert.summary(found, round_number)

        return await asyncio.to_thread(read)

    async def SetOverrides(self, request: pb.SetOverridesRequest, context: Any) -> pb.SetOverridesResponse:
        """One revision more. The samples must be of the job, and new labels among its classes."""
        job = await self._job(request.parent)
        overrides = convert.overrides_from(request.overrides)
        revision = await record_decisions(self._artifacts, job, overrides, author=request.author, reason=request.reason)
        revisions = await asyncio.to_thread(read_overrides, self._artifacts.blobs, job.tenant, job.id)
        return pb.SetOverridesResponse(revision=convert.revision(revision), overridden=len(in_force(revisions)))

    async def ListOverrideRevisions(
        self, request: pb.ListOverrideRevisionsRequest, context: Any
    ) -> pb.ListOverrideRevisionsResponse:
        """The whole record."""
        job = await self._artifacts.job(*parse_name(request.parent, "distillationJobs", "parent"))
        found = await asyncio.to_thread(read_overrides, self._artifacts.blobs, job.tenant, job.id)
        return pb.ListOverrideRevisionsResponse(revisions=[convert.revision(each) for each in found])

    async def ExplainSamples(self, request: pb.ExplainSamplesRequest, context: Any) -> pb.ExplainSamplesResponse:
        """What the job found out about the samples."""
        job = await self._job(request.parent)
        _check_count(request.ids, _MAX_HISTORIES)

        def read() -> pb.ExplainSamplesResponse:
            manifest = self._artifacts.manifest(job)
            _, shard = self._artifacts.weights(manifest, 0)
            shard.rows_of(list(request.ids))  # an unknown id is not just unexplained
            made_by = Provenance.from_metadata(shard.schema.metadata)
            return convert.explanations(*explained_samples(self._artifacts, manifest, request.ids), made_by)

        return await asyncio.to_thread(read)

    async def _job(self, parent: str) -> Job:
        return await self._artifacts.weighed_job(*parse_name(parent, "distillationJobs", "parent"))

    def _shard(self, job: Job, round_number: int) -> tuple[int, Shard]:
        return self._artifacts.weights(self._artifacts.manifest(job), round_number)


def _digest(*query: str | int) -> str:
    return hashlib.sha256("\n".join(str(part) for part in query).encode()).hexdigest()[:16]


def _position(token: str, query: str, field: str) -> int:
    cursor = decode_token(token, field)
    if not cursor:
        return 0
    position, _, of_query = cursor.partition(":")
    if of_query != query or not position.isdecimal():
        raise InvalidInputError.of(field, "belongs to another query; send the same fields with every page")
    return int(position)


def _check_count(ids: Sequence[str], most: int) -> None:
    if not 1 <= len(ids) <= most:
        raise InvalidInputError.of("ids", f"holds {len(ids):,}; give 1 to {most:,} at a time")

"""The weights of one job's samples: pages, streams, histories, and decisions on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import pyarrow as pa
from kdaif_proto.v1 import weights_pb2 as pb

from kdaif_client import _convert_weights as convert
from kdaif_client._async.paging import page_size, pages
from kdaif_client._async.rpc import AsyncPatience, AsyncRpc
from kdaif_client._async.running import first
from kdaif_client._rpc import was_cut
from kdaif_client.errors import KdaifClientError
from kdaif_client.evidence_types import Evidence
from kdaif_client.weight_types import OverrideRevision, Provenance, SampleWeight, WeightSummary

_PAGE_ROWS = 10_000
_IDS_PER_CALL = 1000
_HISTORIES_PER_CALL = 100
_STREAM_S = 3600.0


async def listed(
    rpc: AsyncRpc, job: str, *, order_by: str, where: str, round_number: int, limit: int | None
) -> AsyncIterator[SampleWeight]:
    """Rows in order, at most ``limit``, fetched page by page."""
    request = pb.ListSampleWeightsRequest(
        parent=job,
        round=round_number,
        order_by=order_by,
        filter=where,
        page_size=page_size(limit, _PAGE_ROWS),
    )
    found = pages(rpc, rpc.weights.ListSampleWeights, request)
    async for weight in first((each async for page in found for each in convert.weights(page.weights)), limit):
        yield weight


async def of_ids(rpc: AsyncRpc, job: str, ids: Sequence[str | int], round_number: int) -> AsyncIterator[SampleWeight]:
    """The rows of these samples, in this order."""
    for start in range(0, len(ids), _IDS_PER_CALL):
        part = [str(value) for value in ids[start : start + _IDS_PER_CALL]]
        request = pb.BatchGetSampleWeightsRequest(parent=job, round=round_number, ids=part)
        answer = await rpc.call(rpc.weights.BatchGetSampleWeights, request)
        for weight in convert.weights(answer.weights):
            yield weight


async def batches(
    rpc: AsyncRpc, job: str, where: str, round_number: int, patience_s: float
) -> AsyncIterator[pa.RecordBatch]:
    """Every row by id. A stream that breaks off goes on where it did, within the patience for servers that are away."""
    request = pb.StreamSampleWeightsRequest(parent=job, round=round_number, filter=where)
    patience = AsyncPatience(patience_s)
    while True:
        try:
            async with rpc.receive(rpc.weights.StreamSampleWeights, request, timeout_s=_STREAM_S) as answers:
                async for answer in answers:
                    with pa.ipc.open_stream(answer.arrow_ipc) as reader:
                        for batch in reader:
                            yield batch
                    request.resume_token = answer.resume_token
                    patience.progress()
                return
        except KdaifClientError as error:
            if not was_cut(error):
                raise
            await patience.pause(error)


async def history(rpc: AsyncRpc, job: str, ids: Sequence[str | int]) -> dict[str, list[SampleWeight]]:
    """The rows of these samples in every scored round, by id."""
    found: dict[str, list[SampleWeight]] = {str(value): [] for value in ids}
    for start in range(0, len(ids), _HISTORIES_PER_CALL):
        part = [str(value) for value in ids[start : start + _HISTORIES_PER_CALL]]
        request = pb.GetWeightHistoryRequest(parent=job, ids=part)
        for of_round in (await rpc.call(rpc.weights.GetWeightHistory, request)).rounds:
            for weight in convert.weights(of_round):
                found[weight.id].append(weight)
    return found


async def evidence(rpc: AsyncRpc, job: str, sample: str | int) -> tuple[Evidence, Provenance | None]:
    """Whom a sample helps and harms, and what lies nearest to it; and what made the last weights."""
    request = pb.ExplainSamplesRequest(parent=job, ids=[str(sample)])
    return convert.evidence(await rpc.call(rpc.weights.ExplainSamples, request))


async def summarize(rpc: AsyncRpc, job: str, where: str, round_number: int) -> WeightSummary:
    """A round at a glance."""
    request = pb.SummarizeWeightsRequest(parent=job, round=round_number, filter=where)
    return convert.summary(await rpc.call(rpc.weights.SummarizeWeights, request))


async def override(
    rpc: AsyncRpc,
    job: str,
    *,
    pin: Mapping[str | int, float],
    ban: Sequence[str | int],
    relabel: Mapping[str | int, str],
    clear: Sequence[str | int],
    author: str,
    reason: str,
) -> OverrideRevision:
    """Records the decisions."""
    request = pb.SetOverridesRequest(
        parent=job, overrides=convert.decisions(pin, ban, relabel, clear), author=author, reason=reason
    )
    return convert.revision((await rpc.call(rpc.weights.SetOverrides, request)).revision)


async def revisions(rpc: AsyncRpc, job: str) -> tuple[OverrideRevision, ...]:
    """Every decision ever recorded."""
    answer = await rpc.call(rpc.weights.ListOverrideRevisions, pb.ListOverrideRevisionsRequest(parent=job))
    return tuple(convert.revision(each) for each in answer.revisions)

"""What a client asks about the spec of a job: to queue it, to check it, to list what it leaves out."""

from __future__ import annotations

import io
import uuid
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from kdaif_proto.v1 import jobs_pb2 as pb

from kdaif_client import _convert
from kdaif_client._async.job import AsyncJob
from kdaif_client._async.rpc import AsyncRpc
from kdaif_client._convert_spec import spec_to_proto
from kdaif_client.errors import Unavailable
from kdaif_client.spec import OverridesFrom, Spec
from kdaif_client.types import JobInfo, Preflight

# The server looks at all the data before it answers.
_LOOKED_AT_S = 300.0


async def queued(rpc: AsyncRpc, tenant: str, spec: Spec, request_id: str | None, display_name: str) -> JobInfo:
    """The job of a spec, which a repeated call with the same id does not make again."""
    request_id = uuid.uuid4().hex if request_id is None else request_id
    request = pb.CreateDistillationJobRequest(
        parent=f"tenants/{tenant}",
        spec=spec_to_proto(spec, tenant),
        request_id=request_id,
        display_name=display_name,
    )
    try:
        answer = await rpc.call(rpc.jobs.CreateDistillationJob, request, timeout_s=_timeout_s(rpc))
    except Unavailable as error:
        repeat = f"{error} Submitting again with request_id={request_id!r} cannot make a second job."
        raise Unavailable(repeat, code=error.code, reason=error.reason) from None
    return _convert.job(answer.job)


async def looked_at(rpc: AsyncRpc, tenant: str, spec: Spec) -> Preflight:
    """What preflight finds; nothing is queued."""
    request = pb.CreateDistillationJobRequest(
        parent=f"tenants/{tenant}", spec=spec_to_proto(spec, tenant), validate_only=True
    )
    answer = await rpc.call(rpc.jobs.CreateDistillationJob, request, timeout_s=_timeout_s(rpc))
    found = _convert.job(answer.job)
    return Preflight(found.preflight, found.estimate)


async def rejected(rpc: AsyncRpc, tenant: str, spec: Spec) -> pa.Table:
    """The rows that a job would leave out, and why; nothing is queued."""
    request = pb.ReadRejectedRowsRequest(parent=f"tenants/{tenant}", spec=spec_to_proto(spec, tenant))
    async with rpc.receive(rpc.jobs.ReadRejectedRows, request, timeout_s=_timeout_s(rpc)) as answers:
        data = b"".join([answer.data async for answer in answers])
    return pq.read_table(io.BytesIO(data))


async def spec_again(former: AsyncJob, changes: dict[str, Any], *, with_overrides: bool) -> Spec:
    """The spec of a job with changes, and with what people decided on its samples."""
    spec = replace(former.info.spec, **changes)
    revisions = await former.override_revisions() if with_overrides else ()
    return replace(spec, overrides=OverridesFrom(former.name, revisions[-1].revision)) if revisions else spec


def _timeout_s(rpc: AsyncRpc) -> float:
    return max(_LOOKED_AT_S, rpc.timeout_s)

"""DistillationJobService: submit, follow, cancel, retry, review, delete."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from kdaif_proto.v1 import jobs_pb2 as pb
from kdaif_proto.v1 import jobs_pb2_grpc

from kdaif import datasets
from kdaif.errors import FailedPreconditionError, FieldViolation, InvalidInputError, NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import (
    DatasetKind,
    DatasetState,
    DistillationSpec,
    Job,
    JobState,
    ModelSignature,
    PreflightReport,
)
from kdaif.store import DatasetStore, LineStore
from kdaif.telemetry import carried, span
from kdaif_server._convert import event_to_proto, job_to_proto, spec_from_proto, state_from_proto
from kdaif_server._convert_weights import overrides_from
from kdaif_server._job_messages import JobMessages
from kdaif_server.artifacts import Artifacts
from kdaif_server.decisions import reject_job, resume_job
from kdaif_server.following import follow
from kdaif_server.names import parse_name, parse_parent
from kdaif_server.observability import request_id
from kdaif_server.services.paging import decode_token, encode_token, page_size

_MAX_REQUEST_ID = 128
_CHUNK_BYTES = 256 * 1024


class DistillationJobService(jobs_pb2_grpc.DistillationJobServiceServicer):
    """A job is checked once, here, against its data; the queue then holds identifiers only."""

    def __init__(
        self,
        queue: JobQueue,
        dataset_store: DatasetStore,
        artifacts: Artifacts,
        lines: LineStore,
        cache_dir: Path,
        stopping: asyncio.Event,
    ) -> None:
        self._queue = queue
        self._artifacts = artifacts
        self._datasets = dataset_store
        self._lines = lines
        self._cache_dir = cache_dir
        self._stopping = stopping
        self._messages = JobMessages()

    async def CreateDistillationJob(
        self, request: pb.CreateDistillationJobRequest, context: Any
    ) -> pb.CreateDistillationJobResponse:
        """Validates and queues, or only validates."""
        tenant = parse_parent(request.parent)
        if len(request.request_id) > _MAX_REQUEST_ID:
            raise InvalidInputError.of("request_id", f"is longer than {_MAX_REQUEST_ID} characters")
        spec = spec_from_proto(request.spec, tenant)
        if request.request_id and not request.validate_only:
            # Before the data are looked at again: a repeated request is answered even when they are gone by now.
            known = await self._queue.submitted(
                tenant, spec, request_id=request.request_id, display_name=request.display_name
            )
            if known is not None:
                return pb.CreateDistillationJobResponse(job=job_to_proto(known))
        checked = await asyncio.to_thread(self._check, tenant, spec)
        if request.validate_only:
            job = _unqueued(tenant, spec, checked, request.display_name)
            return pb.CreateDistillationJobResponse(job=job_to_proto(job))
        if checked.report.errors:
            raise _refusal(checked.report)
        with span("submit"):
            job = await self._queue.submit(
                tenant,
                spec,
                checked.report,
                request_id=request.request_id,
                display_name=request.display_name,
                estimate=checked.estimate,
                origin=carried() | {"call": request_id()},
            )
        return pb.CreateDistillationJobResponse(job=job_to_proto(job))

    async def GetDistillationJob(
        self, request: pb.GetDistillationJobRequest, context: Any
    ) -> pb.GetDistillationJobResponse:
        """One job."""
        job = await self._queue.get(*parse_name(request.name, "distillationJobs"))
        return self._messages.of(job)

    async def ListDistillationJobs(
        self, request: pb.ListDistillationJobsRequest, context: Any
    ) -> pb.ListDistillationJobsResponse:
        """Jobs, newest first."""
        tenant = parse_parent(request.parent)
        jobs, cursor = await self._queue.list(
            tenant,
            limit=page_size(request.page_size, default=100, most=1000),
            cursor=decode_token(request.page_token),
            states=frozenset(state_from_proto(state) for state in request.states),
        )
        return pb.ListDistillationJobsResponse(
            jobs=[job_to_proto(job) for job in jobs], next_page_token=encode_token(cursor)
        )

    async def CancelDistillationJob(
        self, request: pb.CancelDistillationJobRequest, context: Any
    ) -> pb.CancelDistillationJobResponse:
        """Asks for the end of a job."""
        job = await self._queue.cancel(*parse_name(request.name, "distillationJobs"))
        return pb.CancelDistillationJobResponse(job=job_to_proto(job))

    async def RetryDistillationJob(
        self, request: pb.RetryDistillationJobRequest, context: Any
    ) -> pb.RetryDistillationJobResponse:
        """Queues an unsuccessful job again."""
        job = await self._queue.retry(*parse_name(request.name, "distillationJobs"))
        return pb.RetryDistillationJobResponse(job=job_to_proto(job))

    async def ResumeDistillationJob(
        self, request: pb.ResumeDistillationJobRequest, context: Any
    ) -> pb.ResumeDistillationJobResponse:
        """Queues a job again that awaited a review, with what a person decided on its samples."""
        tenant, job_id = parse_name(request.name, "distillationJobs")
        job = await resume_job(
            self._queue,
            self._artifacts,
            tenant,
            job_id,
            author=request.author,
            reason=request.reason,
            overrides=overrides_from(request.overrides),
        )
        return pb.ResumeDistillationJobResponse(job=job_to_proto(job))

    async def RejectDistillationJob(
        self, request: pb.RejectDistillationJobRequest, context: Any
    ) -> pb.RejectDistillationJobResponse:
        """Fails a job that awaited a review."""
        tenant, job_id = parse_name(request.name, "distillationJobs")
        job = await reject_job(self._queue, self._artifacts, tenant, job_id, request.why, author=request.author)
        return pb.RejectDistillationJobResponse(job=job_to_proto(job))

    async def DeleteDistillationJob(
        self, request: pb.DeleteDistillationJobRequest, context: Any
    ) -> pb.DeleteDistillationJobResponse:
        """Removes a job that has ended; a task of the server then removes what it left in the blob store."""
        tenant, job_id = parse_name(request.name, "distillationJobs")
        if line := (await asyncio.to_thread(self._lines.in_use, tenant)).get(job_id):
            raise FailedPreconditionError(
                f"devices run the student of job {job_id}: it is champion or canary of line {line!r}. Set another "
                "champion, or roll the canary back, and delete the job then"
            )
        await self._queue.delete(tenant, job_id)
        return pb.DeleteDistillationJobResponse()

    async def WatchDistillationJob(
        self, request: pb.WatchDistillationJobRequest, context: Any
    ) -> AsyncIterator[pb.WatchDistillationJobResponse]:
        """Old events, then live ones, until the job is terminal. A draining server asks the client to come back."""
        tenant, job_id = parse_name(request.name, "distillationJobs")
        if request.after_sequence < 0:
            raise InvalidInputError.of("after_sequence", f"is {request.after_sequence}; use 0 for every event")
        async for event in follow(self._queue, tenant, job_id, request.after_sequence, self._stopping):
            yield pb.WatchDistillationJobResponse(event=event_to_proto(event))

    async def ReadRejectedRows(
        self, request: pb.ReadRejectedRowsRequest, context: Any
    ) -> AsyncIterator[pb.ReadRejectedRowsResponse]:
        """The rows that a job would leave out, as one Parquet file; of refused data those found until then."""
        tenant = parse_parent(request.parent)
        spec = spec_from_proto(request.spec, tenant)
        data = await asyncio.to_thread(lambda: _parquet(self._check(tenant, spec).rejected))
        for start in range(0, len(data), _CHUNK_BYTES):
            yield pb.ReadRejectedRowsResponse(data=data[start : start + _CHUNK_BYTES])

    def _check(self, tenant: str, spec: DistillationSpec) -> datasets.Checked:
        """Raises InvalidInputError for data sets that are not there, or are not what their roles need."""
        files: dict[str, Path] = {}
        models: dict[str, ModelSignature] = {}
        wrong: list[FieldViolation] = []
        ids = spec.dataset_ids()
        for role, (kind, field) in spec.dataset_kinds().items():
            try:
                found = self._datasets.get(tenant, ids[role])
                if found.kind is not kind:
                    wrong.append(FieldViolation(field, f"names {found.id}, which is {found.kind}; it must be {kind}"))
                elif found.state is not DatasetState.READY:
                    why = "whose bytes are not all there; finish the upload first"
                    wrong.append(FieldViolation(field, f"names {found.id}, {why}"))
                elif kind is DatasetKind.TABLE:
                    files[role] = self._datasets.fetch(tenant, ids[role], self._cache_dir)
                elif found.model is not None:
                    models[role] = found.model
            except NotFoundError as error:
                wrong.append(FieldViolation(field, str(error)))
        if wrong:
            raise InvalidInputError("; ".join(f"{v.field}: {v.description}" for v in wrong), tuple(wrong))
        return datasets.check(spec, files, models)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _refusal(report: PreflightReport) -> InvalidInputError:
    violations = tuple(FieldViolation(finding.field, finding.message) for finding in report.errors)
    listed = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
    return InvalidInputError(f"The data cannot be used: {listed}", violations)


def _unqueued(tenant: str, spec: DistillationSpec, checked: datasets.Checked, display_name: str) -> Job:
    return Job(
        tenant=tenant,
        id="",
        state=JobState.QUEUED,
        spec=spec,
        preflight=checked.report,
        estimate=checked.estimate,
        created_at_ms=0,
        max_attempts=spec.max_attempts,
        display_name=display_name,
    )

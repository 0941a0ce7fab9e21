"""StudentService: the bundles of succeeded jobs, and which of them a device should run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

from kdaif_proto.v1 import students_pb2 as pb
from kdaif_proto.v1 import students_pb2_grpc

from kdaif.errors import InvalidInputError, NotFoundError
from kdaif.queue import JobQueue, OutcomeCount
from kdaif.records import JobState
from kdaif.store import layout
from kdaif_server import _convert_lines as convert
from kdaif_server._convert import student_to_proto
from kdaif_server.artifacts import Artifacts
from kdaif_server.lines import Lines, Order
from kdaif_server.names import line_id, parse_name, parse_parent, student_name
from kdaif_server.rollouts import Rollouts
from kdaif_server.services.paging import decode_token, encode_token, page_size
from kdaif_server.signing import ALGORITHM, SigningKey

_CHUNK_BYTES = 512 * 1024
_MANIFEST = "manifest.json"
_LONGEST_TEXT = 1_000
_LONGEST_DEVICE_KEY = 256
_LONGEST_ROLLOUT = 100

_Changes: TypeAlias = pb.SetAliasRequest | pb.PromoteCanaryRequest | pb.RollBackRequest


class StudentService(students_pb2_grpc.StudentServiceServicer):
    """A student is the bundle of one succeeded job and has that job's id."""

    def __init__(self, queue: JobQueue, artifacts: Artifacts, key: SigningKey) -> None:
        self._key = key
        self._queue = queue
        self._artifacts = artifacts
        self._lines = Lines(artifacts)
        self._rollouts = Rollouts(self._lines, queue.outcomes)

    async def GetStudent(self, request: pb.GetStudentRequest, context: Any) -> pb.GetStudentResponse:
        """One student."""
        job = await self._artifacts.succeeded_job(*parse_name(request.name, "students"))
        manifest = await asyncio.to_thread(self._artifacts.manifest, job)
        student = student_to_proto(job, manifest)
        for file in manifest.bundle:
            if file.path == _MANIFEST:
                made = self._key.sign(student.name, file.sha256)
                student.signature.CopyFrom(
                    pb.BundleSignature(key_id=made.key_id, algorithm=ALGORITHM, signature=made.signature)
                )
        return pb.GetStudentResponse(student=student)

    async def ListStudents(self, request: pb.ListStudentsRequest, context: Any) -> pb.ListStudentsResponse:
        """Students, newest job first."""
        tenant = parse_parent(request.parent)
        jobs, cursor = await self._queue.list(
            tenant,
            limit=page_size(request.page_size, default=100, most=1000),
            cursor=decode_token(request.page_token),
            states=frozenset({JobState.SUCCEEDED}),
        )
        manifests = await asyncio.to_thread(lambda: [self._artifacts.manifest(job) for job in jobs])
        return pb.ListStudentsResponse(
            students=[student_to_proto(job, manifest) for job, manifest in zip(jobs, manifests, strict=True)],
            next_page_token=encode_token(cursor),
        )

    async def ReadBundle(self, request: pb.ReadBundleRequest, context: Any) -> AsyncIterator[pb.ReadBundleResponse]:
        """The bytes of one file from an offset on."""
        tenant, job_id = parse_name(request.name, "students")
        job = await self._artifacts.succeeded_job(tenant, job_id)
        manifest = await asyncio.to_thread(self._artifacts.manifest, job)
        sizes = {file.path: file.size_bytes for file in manifest.bundle}
        if request.path not in sizes:
            raise NotFoundError(f"No file {request.path!r} in this bundle; it holds {', '.join(sorted(sizes))}.")
        size = sizes[request.path]
        if not 0 <= request.read_offset <= size:
            raise InvalidInputError.of("read_offset", f"is {request.read_offset}; the file has {size} bytes")
        if request.read_limit < 0:
            raise InvalidInputError.of("read_limit", "is negative; use 0 to read to the end")
        left = size - request.read_offset
        length = min(request.read_limit or left, left)
        blob = layout.bundle_file(tenant, job_id, manifest.attempt, request.path)
        chunks = self._artifacts.blobs.iter_range(blob, request.read_offset, length, _CHUNK_BYTES)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield pb.ReadBundleResponse(data=chunk)

    async def SetAlias(self, request: pb.SetAliasRequest, context: Any) -> pb.SetAliasResponse:
        """A champion, or a canary with its share."""
        order = _order(request)
        student, terms = _student(request.student, order.tenant), convert.terms_from(request.gate)
        if request.alias == pb.ALIAS_CHAMPION:
            if request.share or request.automatic:
                raise InvalidInputError.of("share", "and automatic are of a canary; leave them out for a champion")
            made = await self._lines.set_champion(order, student, terms)
        elif request.alias == pb.ALIAS_CANARY:
            made = await self._lines.set_canary(order, student, request.share, terms, automatic=request.automatic)
        else:
            raise InvalidInputError.of("alias", "is not set; choose ALIAS_CHAMPION or ALIAS_CANARY")
        return pb.SetAliasResponse(line=convert.line_to_proto(order.tenant, order.line, made), gate=made.gate)

    async def PromoteCanary(self, request: pb.PromoteCanaryRequest, context: Any) -> pb.PromoteCanaryResponse:
        """The canary becomes the champion."""
        order = _order(request)
        made = await self._lines.promote(order, convert.terms_from(request.gate))
        return pb.PromoteCanaryResponse(line=convert.line_to_proto(order.tenant, order.line, made), gate=made.gate)

    async def RollBack(self, request: pb.RollBackRequest, context: Any) -> pb.RollBackResponse:
        """Without an alias only the canary is dropped: who is late must not roll back a canary that was promoted."""
        order = _order(request)
        made = await self._lines.roll_back(order, champion=request.alias == pb.ALIAS_CHAMPION)
        return pb.RollBackResponse(line=convert.line_to_proto(order.tenant, order.line, made))

    async def GetAliases(self, request: pb.GetAliasesRequest, context: Any) -> pb.GetAliasesResponse:
        """One line."""
        tenant, line = parse_parent(request.parent), line_id(request.line)
        return pb.GetAliasesResponse(line=convert.line_to_proto(tenant, line, await self._lines.get(tenant, line)))

    async def ListLines(self, request: pb.ListLinesRequest, context: Any) -> pb.ListLinesResponse:
        """Lines by name."""
        tenant = parse_parent(request.parent)
        limit = page_size(request.page_size, default=100, most=1000)
        after = decode_token(request.page_token)
        names = [name for name in await asyncio.to_thread(self._lines.store.names, tenant) if name > after]
        return pb.ListLinesResponse(
            lines=[convert.line_to_proto(tenant, name, await self._lines.get(tenant, name)) for name in names[:limit]],
            next_page_token=encode_token(names[limit - 1] if len(names) > limit else ""),
        )

    async def ListAliasRevisions(
        self, request: pb.ListAliasRevisionsRequest, context: Any
    ) -> pb.ListAliasRevisionsResponse:
        """Changes, newest first."""
        tenant, line = parse_parent(request.parent), line_id(request.line)
        limit = page_size(request.page_size, default=100, most=1000)
        cursor = decode_token(request.page_token)
        if cursor and not cursor.isdecimal():
            raise InvalidInputError.of("page_token", "belongs to another query; start again without one")
        found = await self._lines.revisions(tenant, line, before=int(cursor) if cursor else None, limit=limit)
        oldest = found[-1].revision if found else 1
        return pb.ListAliasRevisionsResponse(
            revisions=[convert.revision_to_proto(tenant, line, each) for each in found],
            next_page_token=encode_token(str(oldest) if oldest > 1 else ""),
        )

    async def ResolveAlias(self, request: pb.ResolveAliasRequest, context: Any) -> pb.ResolveAliasResponse:
        """What the device should run."""
        tenant, line = parse_parent(request.parent), line_id(request.line)
        _check_length("device_key", request.device_key, _LONGEST_DEVICE_KEY)
        found = await self._rollouts.resolve(tenant, line, request.device_key)
        return pb.ResolveAliasResponse(
            student=student_name(tenant, found.student),
            is_canary=found.is_canary,
            revision=found.revision,
            rollout=found.rollout,
        )

    async def ReportOutcomes(self, request: pb.ReportOutcomesRequest, context: Any) -> pb.ReportOutcomesResponse:
        """Counts, and perhaps decides."""
        tenant, line = parse_parent(request.parent), line_id(request.line)
        _check_length("rollout", request.rollout, _LONGEST_ROLLOUT)
        found = await self._rollouts.report(
            tenant,
            line,
            request.rollout,
            _student(request.student, tenant),
            OutcomeCount(request.predictions, request.right, request.total),
            request_id=request.request_id,
        )
        return pb.ReportOutcomesResponse(rollout=convert.rollout_to_proto(tenant, found))

    async def GetRollout(self, request: pb.GetRolloutRequest, context: Any) -> pb.GetRolloutResponse:
        """Counts and verdict; decides nothing."""
        tenant, line = parse_parent(request.parent), line_id(request.line)
        _check_length("rollout", request.rollout, _LONGEST_ROLLOUT, least=0)
        found = await self._rollouts.get(tenant, line, request.rollout)
        return pb.GetRolloutResponse(rollout=convert.rollout_to_proto(tenant, found))


def _order(request: _Changes) -> Order:
    tenant, line = parse_parent(request.parent), line_id(request.line)
    _check_length("author", request.author.strip(), _LONGEST_TEXT)
    _check_length("reason", request.reason, _LONGEST_TEXT, least=0)
    seen = request.expected_revision if request.HasField("expected_revision") else None
    return Order(tenant, line, request.author, request.reason, seen)


def _student(name: str, tenant: str) -> str:
    owner, student = parse_name(name, "students", "student")
    if owner != tenant:
        raise InvalidInputError.of("student", f"{name} belongs to another tenant than the line")
    return student


def _check_length(field: str, text: str, most: int, least: int = 1) -> None:
    if not least <= len(text) <= most:
        raise InvalidInputError.of(field, f"has {len(text)} characters; write {least} to {most:,}")

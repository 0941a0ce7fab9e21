"""StudentService: the bundles of succeeded jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from kdaif_proto.v1 import students_pb2 as pb
from kdaif_proto.v1 import students_pb2_grpc

from kdaif.errors import InvalidInputError, NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import JobState
from kdaif.store import layout
from kdaif_server._convert import student_to_proto
from kdaif_server.artifacts import Artifacts
from kdaif_server.names import parse_name, parse_parent
from kdaif_server.services.paging import decode_token, encode_token, page_size

_CHUNK_BYTES = 512 * 1024


class StudentService(students_pb2_grpc.StudentServiceServicer):
    """A student is the bundle of one succeeded job and has that job's id."""

    def __init__(self, queue: JobQueue, artifacts: Artifacts) -> None:
        self._queue = queue
        self._artifacts = artifacts

    async def GetStudent(self, request: pb.GetStudentRequest, context: Any) -> pb.GetStudentResponse:
        """One student."""
        job = await self._artifacts.succeeded_job(*parse_name(request.name, "students"))
        manifest = await asyncio.to_thread(self._artifacts.manifest, job)
        return pb.GetStudentResponse(student=student_to_proto(job, manifest))

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

"""A small but real gRPC server: it keeps data sets, jobs and bundles in memory, and breaks when a test tells it to."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
from google.rpc import code_pb2
from kdaif_proto.v1 import datasets_pb2 as ds
from kdaif_proto.v1 import datasets_pb2_grpc, jobs_pb2_grpc, students_pb2_grpc, weights_pb2_grpc
from kdaif_proto.v1 import jobs_pb2 as jb
from kdaif_proto.v1 import students_pb2 as st
from kdaif_proto.v1 import weights_pb2 as wt

from tests.client.small_state import PARENT, TERMINAL, State, refuse


class Datasets(datasets_pb2_grpc.DatasetServiceServicer):
    def __init__(self, state: State) -> None:
        self.state = state

    def CreateDataset(self, request: ds.CreateDatasetRequest, context: Any) -> ds.CreateDatasetResponse:
        self.state.count(context, "CreateDataset")
        name = f"{request.parent}/datasets/{request.sha256[:32]}"
        if name not in self.state.datasets:
            self.state.contents[name] = bytearray()
            self.state.datasets[name] = ds.Dataset(
                name=name,
                display_name=request.display_name,
                sha256=request.sha256,
                size_bytes=request.size_bytes,
                state=ds.Dataset.STATE_UPLOADING,
                kind=request.kind,
            )
            self.state.datasets[name].create_time.GetCurrentTime()
        return ds.CreateDatasetResponse(
            dataset=self.state.datasets[name], committed_size=len(self.state.contents[name])
        )

    def WriteDataset(self, requests: Iterator[ds.WriteDatasetRequest], context: Any) -> ds.WriteDatasetResponse:
        self.state.count(context, "WriteDataset")
        cut = self.state.cut_writes.pop(0) if self.state.cut_writes else None
        name, finish, written = "", False, 0
        for request in requests:
            if request.name:
                name = request.name
                self.state.offsets.append(request.write_offset)
                if request.write_offset != len(self.state.contents[name]):
                    refuse(context, code_pb2.INVALID_ARGUMENT, "wrong offset", "INVALID_INPUT", write_offset="is stale")
            assert len(request.data) <= 1024 * 1024
            self.state.contents[name] += request.data
            written += len(request.data)
            finish = finish or request.finish_write
            if cut is not None and written >= cut:
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")
        dataset, content = self.state.datasets[name], self.state.contents[name]
        if finish:
            if hashlib.sha256(content).hexdigest() != dataset.sha256:
                refuse(context, code_pb2.INVALID_ARGUMENT, "the hash differs", "INVALID_INPUT")
            dataset.state = ds.Dataset.STATE_READY
        return ds.WriteDatasetResponse(dataset=dataset, committed_size=len(content))

    def QueryWriteStatus(self, request: ds.QueryWriteStatusRequest, context: Any) -> ds.QueryWriteStatusResponse:
        self.state.count(context, "QueryWriteStatus")
        complete = self.state.datasets[request.name].state == ds.Dataset.STATE_READY
        return ds.QueryWriteStatusResponse(committed_size=len(self.state.contents[request.name]), complete=complete)

    def GetDataset(self, request: ds.GetDatasetRequest, context: Any) -> ds.GetDatasetResponse:
        self.state.count(context, "GetDataset")
        if request.name not in self.state.datasets:
            refuse(context, code_pb2.NOT_FOUND, f"There is no data set {request.name}.", "NOT_FOUND")
        return ds.GetDatasetResponse(dataset=self.state.datasets[request.name])

    def ListDatasets(self, request: ds.ListDatasetsRequest, context: Any) -> ds.ListDatasetsResponse:
        self.state.count(context, "ListDatasets")
        found = sorted(self.state.datasets.values(), key=lambda dataset: dataset.name)
        start = int(request.page_token or 0)
        # Two to a page, whatever is asked for: a server may always give fewer.
        page = found[start : start + 2]
        more = str(start + 2) if start + 2 < len(found) else ""
        return ds.ListDatasetsResponse(datasets=page, next_page_token=more)

    def DeleteDataset(self, request: ds.DeleteDatasetRequest, context: Any) -> ds.DeleteDatasetResponse:
        self.state.count(context, "DeleteDataset")
        del self.state.datasets[request.name]
        return ds.DeleteDatasetResponse()


class Jobs(jobs_pb2_grpc.DistillationJobServiceServicer):
    def __init__(self, state: State) -> None:
        self.state = state

    def _job(self, name: str, context: Any) -> jb.DistillationJob:
        if name not in self.state.jobs:
            refuse(context, code_pb2.NOT_FOUND, f"There is no job {name}.", "NOT_FOUND")
        return self.state.jobs[name]

    def CreateDistillationJob(
        self, request: jb.CreateDistillationJobRequest, context: Any
    ) -> jb.CreateDistillationJobResponse:
        self.state.count(context, "CreateDistillationJob")
        if request.spec.training.HasField("temperature") and request.spec.training.temperature <= 0:
            refuse(
                context,
                code_pb2.INVALID_ARGUMENT,
                "The spec is wrong in 2 places.",
                "INVALID_INPUT",
                spec__training__temperature="is 0; must be above 0",
                spec__labeled="has no column `label`",
            )
        finding = jb.PreflightFinding(
            severity=jb.PreflightFinding.SEVERITY_WARNING,
            code="NON_FINITE_FEATURES",
            field="spec.unlabeled",
            message="rows with NaN are left out",
            row_count=12,
            ids=["pool-000003"],
        )
        if request.validate_only:
            return jb.CreateDistillationJobResponse(job=jb.DistillationJob(spec=request.spec, preflight=[finding]))
        known = self.state.requests.setdefault(request.request_id, request)
        if known != request:
            refuse(context, code_pb2.ALREADY_EXISTS, "That request_id belongs to another job.", "ALREADY_EXISTS")
        job_id = hashlib.sha256(request.request_id.encode()).hexdigest()[:12]
        job = self.state.jobs.get(f"{PARENT}/distillationJobs/{job_id}") or self.state.add_job(job_id)
        job.spec.CopyFrom(request.spec)
        job.display_name = request.display_name
        del job.preflight[:]
        job.preflight.append(finding)
        return jb.CreateDistillationJobResponse(job=job)

    def ReadRejectedRows(
        self, request: jb.ReadRejectedRowsRequest, context: Any
    ) -> Iterator[jb.ReadRejectedRowsResponse]:
        self.state.count(context, "ReadRejectedRows")
        sink = io.BytesIO()
        pq.write_table(pa.table({"id": ["r7"], "reason": ["NaN"]}), sink)
        yield jb.ReadRejectedRowsResponse(data=sink.getvalue())

    def GetDistillationJob(self, request: jb.GetDistillationJobRequest, context: Any) -> jb.GetDistillationJobResponse:
        self.state.count(context, "GetDistillationJob")
        return jb.GetDistillationJobResponse(job=self._job(request.name, context))

    def ListDistillationJobs(
        self, request: jb.ListDistillationJobsRequest, context: Any
    ) -> jb.ListDistillationJobsResponse:
        self.state.count(context, "ListDistillationJobs")
        found = [job for job in self.state.jobs.values() if not request.states or job.state in request.states]
        return jb.ListDistillationJobsResponse(jobs=found)

    def CancelDistillationJob(
        self, request: jb.CancelDistillationJobRequest, context: Any
    ) -> jb.CancelDistillationJobResponse:
        self.state.count(context, "CancelDistillationJob")
        job = self._job(request.name, context)
        if job.state == jb.JOB_STATE_SUCCEEDED:
            refuse(context, code_pb2.FAILED_PRECONDITION, "The job has SUCCEEDED already.", "FAILED_PRECONDITION")
        self.state.tell(job.name, "finished", jb.JOB_STATE_CANCELLED)
        return jb.CancelDistillationJobResponse(job=job)

    def RetryDistillationJob(
        self, request: jb.RetryDistillationJobRequest, context: Any
    ) -> jb.RetryDistillationJobResponse:
        self.state.count(context, "RetryDistillationJob")
        job = self._job(request.name, context)
        self.state.tell(job.name, "queued", jb.JOB_STATE_QUEUED)
        return jb.RetryDistillationJobResponse(job=job)

    def ResumeDistillationJob(
        self, request: jb.ResumeDistillationJobRequest, context: Any
    ) -> jb.ResumeDistillationJobResponse:
        self.state.count(context, "ResumeDistillationJob")
        job = self._awaiting_review(request.name, context)
        self.state.tell(job.name, "queued", jb.JOB_STATE_QUEUED)
        return jb.ResumeDistillationJobResponse(job=job)

    def RejectDistillationJob(
        self, request: jb.RejectDistillationJobRequest, context: Any
    ) -> jb.RejectDistillationJobResponse:
        self.state.count(context, "RejectDistillationJob")
        job = self._awaiting_review(request.name, context)
        job.failure.reason, job.failure.message = jb.FAILURE_REASON_REVIEW, request.why
        self.state.tell(job.name, "finished", jb.JOB_STATE_FAILED)
        return jb.RejectDistillationJobResponse(job=job)

    def DeleteDistillationJob(
        self, request: jb.DeleteDistillationJobRequest, context: Any
    ) -> jb.DeleteDistillationJobResponse:
        self.state.count(context, "DeleteDistillationJob")
        del self.state.jobs[self._job(request.name, context).name]
        return jb.DeleteDistillationJobResponse()

    def _awaiting_review(self, name: str, context: Any) -> jb.DistillationJob:
        job = self._job(name, context)
        if job.state != jb.JOB_STATE_AWAITING_REVIEW:
            refuse(context, code_pb2.FAILED_PRECONDITION, "The job awaits no review.", "FAILED_PRECONDITION")
        return job

    def WatchDistillationJob(
        self, request: jb.WatchDistillationJobRequest, context: Any
    ) -> Iterator[jb.WatchDistillationJobResponse]:
        self.state.count(context, "WatchDistillationJob")
        job = self._job(request.name, context)
        cut = self.state.cut_watches.pop(0) if self.state.cut_watches else None
        after = given = request.after_sequence
        while context.is_active():
            with self.state.changed:
                found = [event for event in self.state.events[job.name] if event.sequence > after]
                if not found:
                    if job.state in TERMINAL:
                        return
                    self.state.changed.wait(0.05)
            for event in found:
                if cut is not None and after - given >= cut:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")
                yield jb.WatchDistillationJobResponse(event=event)
                after = event.sequence


class Weights(weights_pb2_grpc.WeightServiceServicer):
    def __init__(self, state: State) -> None:
        self.state = state

    def _rows(self, chosen: list[int]) -> wt.SampleWeights:
        page = wt.SampleWeights(round=self.state.weights.round)
        for descriptor, values in self.state.weights.ListFields():
            if descriptor.name != "round":
                getattr(page, descriptor.name).extend(values[i] for i in chosen)
        return page

    def ListSampleWeights(self, request: wt.ListSampleWeightsRequest, context: Any) -> wt.ListSampleWeightsResponse:
        self.state.count(context, "ListSampleWeights")
        column, _, direction = request.order_by.partition(" ")
        values = self.state.weights.ids if column == "id" else getattr(self.state.weights, column)
        order = sorted(range(len(values)), key=lambda i: values[i], reverse=direction == "desc")
        start = int(request.page_token or 0)
        end = start + (request.page_size or 1000)
        return wt.ListSampleWeightsResponse(
            weights=self._rows(order[start:end]),
            next_page_token=str(end) if end < len(order) else "",
            total_size=len(order),
        )

    def BatchGetSampleWeights(
        self, request: wt.BatchGetSampleWeightsRequest, context: Any
    ) -> wt.BatchGetSampleWeightsResponse:
        self.state.count(context, "BatchGetSampleWeights")
        places = {sample_id: i for i, sample_id in enumerate(self.state.weights.ids)}
        missing = [sample_id for sample_id in request.ids if sample_id not in places]
        if missing:
            refuse(context, code_pb2.NOT_FOUND, f"No sample {missing[0]!r} in this job.", "NOT_FOUND")
        assert len(request.ids) <= 1000
        return wt.BatchGetSampleWeightsResponse(weights=self._rows([places[i] for i in request.ids]))

    def StreamSampleWeights(
        self, request: wt.StreamSampleWeightsRequest, context: Any
    ) -> Iterator[wt.StreamSampleWeightsResponse]:
        self.state.count(context, "StreamSampleWeights")
        weights = self.state.weights
        start = int(request.resume_token or 0)
        for first in range(start, len(weights.ids), 10_000):
            rows = slice(first, first + 10_000)
            batch = pa.record_batch({"id": weights.ids[rows], "weight": pa.array(weights.weight[rows], pa.float32())})
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            yield wt.StreamSampleWeightsResponse(arrow_ipc=bytes(sink.getvalue()), resume_token=str(first + 10_000))
            if self.state.cut_weights:
                self.state.cut_weights.pop()
                context.abort(grpc.StatusCode.UNAVAILABLE, "planned by the test")


class Students(students_pb2_grpc.StudentServiceServicer):
    def __init__(self, state: State) -> None:
        self.state = state

    def GetStudent(self, request: st.GetStudentRequest, context: Any) -> st.GetStudentResponse:
        self.state.count(context, "GetStudent")
        if request.name not in self.state.students:
            refuse(context, code_pb2.NOT_FOUND, f"There is no student {request.name}.", "NOT_FOUND")
        return st.GetStudentResponse(student=self.state.students[request.name])

    def ListStudents(self, request: st.ListStudentsRequest, context: Any) -> st.ListStudentsResponse:
        self.state.count(context, "ListStudents")
        return st.ListStudentsResponse(students=list(self.state.students.values()))

    def ReadBundle(self, request: st.ReadBundleRequest, context: Any) -> Iterator[st.ReadBundleResponse]:
        self.state.count(context, "ReadBundle")
        self.state.offsets.append(request.read_offset)
        cut = self.state.cut_reads.pop(0) if self.state.cut_reads else None
        data = self.state.files[request.name, request.path]
        for start in range(request.read_offset, len(data), 512 * 1024):
            if cut is not None and start - request.read_offset >= cut:
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")
            yield st.ReadBundleResponse(data=data[start : start + 512 * 1024])


class SmallServer:
    """Starts, stops and starts again on one port, with its state kept."""

    def __init__(self) -> None:
        self.state = State()
        self.port = 0
        self.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        options = [("grpc.so_reuseport", 0), ("grpc.http2.min_ping_interval_without_data_ms", 500)]
        self._server = grpc.server(ThreadPoolExecutor(max_workers=16), options=options)
        datasets_pb2_grpc.add_DatasetServiceServicer_to_server(Datasets(self.state), self._server)
        jobs_pb2_grpc.add_DistillationJobServiceServicer_to_server(Jobs(self.state), self._server)
        weights_pb2_grpc.add_WeightServiceServicer_to_server(Weights(self.state), self._server)
        students_pb2_grpc.add_StudentServiceServicer_to_server(Students(self.state), self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

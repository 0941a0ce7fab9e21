"""What the small server keeps, and the faults that tests plan for it."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from kdaif_proto.v1 import datasets_pb2 as ds
from kdaif_proto.v1 import jobs_pb2 as jb
from kdaif_proto.v1 import students_pb2 as st
from kdaif_proto.v1 import weights_pb2 as wt

TERMINAL = {jb.JOB_STATE_SUCCEEDED, jb.JOB_STATE_FAILED, jb.JOB_STATE_CANCELLED, jb.JOB_STATE_DEAD}
PARENT = "tenants/default"


def refuse(context: Any, code: int, message: str, reason: str, retry: Any = None, **violations: str) -> NoReturn:
    status = status_pb2.Status(code=code, message=message)
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain="kdaif"), *([retry] if retry else [])]
    if violations:
        found = [
            error_details_pb2.BadRequest.FieldViolation(field=name.replace("__", "."), description=text)
            for name, text in violations.items()
        ]
        details.append(error_details_pb2.BadRequest(field_violations=found))
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort raises")


@dataclass
class State:
    """What outlives a restart of the server, and the faults that a test plans."""

    datasets: dict[str, ds.Dataset] = field(default_factory=dict)
    contents: dict[str, bytearray] = field(default_factory=dict)
    jobs: dict[str, jb.DistillationJob] = field(default_factory=dict)
    requests: dict[str, jb.CreateDistillationJobRequest] = field(default_factory=dict)
    events: dict[str, list[jb.JobEvent]] = field(default_factory=dict)
    weights: wt.SampleWeights = field(default_factory=wt.SampleWeights)
    students: dict[str, st.Student] = field(default_factory=dict)
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    offsets: list[int] = field(default_factory=list)
    # method -> how many of the next calls answer UNAVAILABLE
    unavailable: Counter[str] = field(default_factory=Counter)
    # the same with CANCELLED, as of a server that dies
    cancelled: Counter[str] = field(default_factory=Counter)
    # method -> how many of the next calls are over a rate limit, and the seconds to wait that the server names
    limited: Counter[str] = field(default_factory=Counter)
    limited_s: float = 0.3
    # bytes that the next streams carry before they are cut, first to last
    cut_writes: list[int] = field(default_factory=list)
    cut_reads: list[int] = field(default_factory=list)
    cut_watches: list[int] = field(default_factory=list)
    # one entry for each stream of weights that ends after its first batch
    cut_weights: list[int] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def count(self, context: Any, method: str) -> None:
        self.calls[method] += 1
        if self.unavailable[method] > 0:
            self.unavailable[method] -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "planned by the test")
        if self.cancelled[method] > 0:
            self.cancelled[method] -= 1
            context.abort(grpc.StatusCode.CANCELLED, "planned by the test")
        if self.limited[method] > 0:
            self.limited[method] -= 1
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(round(self.limited_s * 1000))
            refuse(context, code_pb2.RESOURCE_EXHAUSTED, "too many calls", "RATE_LIMITED", retry=retry)

    def add_job(self, job_id: str, state: jb.JobState.ValueType = jb.JOB_STATE_QUEUED) -> jb.DistillationJob:
        name = f"{PARENT}/distillationJobs/{job_id}"
        self.jobs[name] = jb.DistillationJob(name=name, state=state, attempt=1, max_attempts=3)
        self.events.setdefault(name, [])
        return self.jobs[name]

    def tell(self, name: str, kind: str, state: jb.JobState.ValueType, **more: Any) -> None:
        with self.changed:
            event = jb.JobEvent(sequence=len(self.events[name]) + 1, kind=kind, state=state, attempt=1, **more)
            event.time.GetCurrentTime()
            self.events[name].append(event)
            self.jobs[name].state = state
            self.changed.notify_all()

    def add_student(self, job_id: str, files: dict[str, bytes], class_names: list[str]) -> str:
        name = f"{PARENT}/students/{job_id}"
        listed = [
            st.BundleFile(path=path, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
            for path, data in files.items()
        ]
        self.students[name] = st.Student(
            name=name, job=f"{PARENT}/distillationJobs/{job_id}", files=listed, class_names=class_names
        )
        self.students[name].signature.signature = b"\x00\xffsigned"
        self.files |= {(name, path): data for path, data in files.items()}
        return name

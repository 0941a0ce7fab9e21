"""A real server with something in it, and what may never come of a request."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import message_factory
from kdaif_client import Client
from kdaif_proto.v1 import datasets_pb2, jobs_pb2
from kdaif_server.embedded.valkey import EmbeddedValkey
from kdaif_server.settings import ServerSettings
from structlog.testing import capture_logs

from kdaif.store import BlobStore
from tests.server.access.calling import METHODS
from tests.server.serving import serving, submit, succeed_next, weights

CODE = grpc.StatusCode
# What a server says that understood, and refuses. Never INTERNAL, UNKNOWN, DATA_LOSS, UNAVAILABLE or a dead connection.
ANSWERS = frozenset(
    {
        CODE.OK,
        CODE.INVALID_ARGUMENT,
        CODE.NOT_FOUND,
        CODE.ALREADY_EXISTS,
        CODE.FAILED_PRECONDITION,
        CODE.OUT_OF_RANGE,
    }
)
_WATCH = "/kdaif.v1.DistillationJobService/WatchDistillationJob"
_CALL_S = 30.0
_WATCH_S = 0.5
_MOST_ANSWERS = 50


@dataclass
class World:
    """The server, and what was asked of it so far."""

    channel: grpc.Channel
    known: list[str]
    logged: list[Any]
    codes: Counter[str] = field(default_factory=Counter)

    def ask(self, path: str, data: list[bytes]) -> None:
        """Sends bytes as a request, and fails for an answer that may never come."""
        method = METHODS[path]
        streams = ("stream" if method.client_streaming else "unary", "stream" if method.server_streaming else "unary")
        answer = message_factory.GetMessageClass(method.output_type)
        callee: Any = getattr(self.channel, "_".join(streams))(
            path, request_serializer=bytes, response_deserializer=answer.FromString
        )
        is_watch = path == _WATCH
        try:
            got = callee(iter(data) if method.client_streaming else data[0], timeout=_WATCH_S if is_watch else _CALL_S)
            if method.server_streaming:
                for _, _ in zip(got, range(_MOST_ANSWERS), strict=False):
                    pass
                got.cancel()
            code = CODE.OK
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            # By a quota or for want of room; never because an answer is too long to be sent.
            refused = code is CODE.RESOURCE_EXHAUSTED and "metadata" not in details
            allowed = code in ANSWERS or refused or (is_watch and code is CODE.DEADLINE_EXCEEDED)
            assert allowed, f"{path} answered {code.name}: {details}"
        # A caller whose deadline ended first does not see it, but the log has it.
        unforeseen = [line for line in self.logged if line["log_level"] in ("error", "critical")]
        assert not unforeseen, f"{path}: {unforeseen[0]}"
        self.logged.clear()
        self.codes[code.name] += 1

    def upload(self, data: bytes, kind: int) -> None:
        """Uploads a file as a data set of a kind, and where it is taken checks a job on it."""
        create = datasets_pb2.CreateDatasetRequest(
            parent="tenants/fuzz", display_name="f", sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)
        )
        create.kind = kind  # type: ignore[assignment]
        self.ask("/kdaif.v1.DatasetService/CreateDataset", [create.SerializeToString()])
        name = f"tenants/fuzz/datasets/{self._id_of(create)}"
        write = datasets_pb2.WriteDatasetRequest(name=name, data=data, finish_write=True)
        self.ask("/kdaif.v1.DatasetService/WriteDataset", [write.SerializeToString()])
        job = jobs_pb2.CreateDistillationJobRequest(parent="tenants/fuzz", validate_only=True)
        job.spec.labeled = job.spec.unlabeled = name
        self.ask("/kdaif.v1.DistillationJobService/CreateDistillationJob", [job.SerializeToString()])

    def _id_of(self, create: datasets_pb2.CreateDatasetRequest) -> str:
        stub = self.channel.unary_unary(
            "/kdaif.v1.DatasetService/CreateDataset",
            request_serializer=type(create).SerializeToString,
            response_deserializer=datasets_pb2.CreateDatasetResponse.FromString,
        )
        try:
            return str(stub(create, timeout=_CALL_S).dataset.name.rsplit("/", 1)[-1])
        except grpc.RpcError:
            return "0" * 32

    def check_alive(self) -> None:
        """Whether a good request still has a good answer."""
        request = jobs_pb2.ListDistillationJobsRequest(parent="tenants/default", page_size=1)
        before = self.codes["OK"]
        self.ask("/kdaif.v1.DistillationJobService/ListDistillationJobs", [request.SerializeToString()])
        assert self.codes["OK"] == before + 1


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """With two data sets, a job that succeeded and one that waits."""
    with EmbeddedValkey(folder / "valkey") as valkey:
        settings = ServerSettings(redis_url=valkey.url, data_dir=folder / "data", port=0, drain_s=0.5)
        with capture_logs() as logged, serving(settings) as target, Client(target) as client:
            job = submit(client)
            succeed_next(valkey.url, BlobStore.open(settings.blob_url), {"student.onnx": b"1"}, weights(500), folder)
            known = ["tenants/default", "default", job.name, job.name.replace("distillationJobs", "students")]
            known += [submit(client, name="second").name, *(each.name for each in client.list_datasets())]
            options = [("grpc.max_receive_message_length", 16 << 20)]
            with grpc.insecure_channel(target, options=options) as channel:
                yield World(channel, known, logged)

"""The door to a kdaif server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Unpack, overload

import pyarrow as pa
from kdaif_proto.v1 import datasets_pb2, jobs_pb2, students_pb2

from kdaif_client import _convert, _convert_rollout
from kdaif_client._async.audit import checked, entries
from kdaif_client._async.job import AsyncJob
from kdaif_client._async.line import AsyncLine
from kdaif_client._async.paging import page_size, pages
from kdaif_client._async.rpc import AsyncRpc
from kdaif_client._async.running import entered, first
from kdaif_client._async.submission import looked_at, queued, rejected, spec_again
from kdaif_client._async.upload import register, upload
from kdaif_client._credentials import given_or_environment
from kdaif_client._models import kind_by_name, model_file, model_name
from kdaif_client._names import resource_name
from kdaif_client._progress import byte_bar
from kdaif_client._tables import parquet_file
from kdaif_client.audit_types import AuditEntry, AuditReport
from kdaif_client.errors import InvalidArgument
from kdaif_client.rollout_types import LineInfo
from kdaif_client.spec import Spec, SpecOptions
from kdaif_client.types import Dataset, DatasetKind, Finding, JobState, Preflight, StudentInfo

__all__ = ["AsyncClient"]

_MOST_STREAMS = 16


class AsyncClient:
    """A connection to one kdaif server for one tenant; connects when first used.

    >>> async with AsyncClient("localhost:50051") as kdaif:
    ...     labeled = await kdaif.upload_dataset(labeled_df, name="labeled")
    ...     pool = await kdaif.upload_dataset("pool.parquet", name="pool")
    ...     job = await kdaif.submit(labeled=labeled, unlabeled=pool)
    ...     await job.wait()
    ...     student = await job.download_student("student/")

    Every call has a deadline. A call that may be repeated is, while the server is unavailable; uploads, downloads and
    watches go on where they were cut. Made in a coroutine, it belongs to that event loop; cancelling a task cancels
    its call.
    """

    def __init__(
        self,
        target: str,
        tenant: str = "default",
        *,
        timeout_s: float = 30.0,
        patience_s: float = 300.0,
        upload_streams: int = 1,
        api_key: str | None = None,
        tls: bool | None = None,
        root_certificates: str | Path | None = None,
        client_certificate: str | Path | None = None,
        client_key: str | Path | None = None,
        plaintext_key: bool | None = None,
        public_key: str | Path | None = None,
    ) -> None:
        """Prepares the connection.

        Args:
            target: ``host:port``.
            tenant: whose data sets and jobs these are.
            timeout_s: deadline of a plain call, with all its attempts.
            patience_s: how long an upload, a download or a watch goes on trying while the server is away; and a plain
                call, within its deadline, where the server has answered before.
            upload_streams: by how many connections at a time a file of over 32 MiB is sent, in pieces that are resumed
                each by itself. Several help where one connection is slow, over a far or lossy network; on a fast one a
                single one is faster.
            api_key: ``kd_...`` or a token, for a server that asks; default ``KDAIF_API_KEY``, or what is in the file
                that ``KDAIF_API_KEY_FILE`` names.
            tls: encrypt the connection; default ``KDAIF_TLS``. Implied by the files below.
            root_certificates: PEM file of the authority behind the server's certificate; default
                ``KDAIF_ROOT_CERTIFICATES``, or the system's.
            client_certificate: PEM file, for mutual TLS; default ``KDAIF_CLIENT_CERTIFICATE``.
            client_key: PEM file of its private key; default ``KDAIF_CLIENT_KEY``.
            plaintext_key: send the key unencrypted to another machine; default ``KDAIF_PLAINTEXT_KEY``.
            public_key: PEM file that ``kdaif-server public-key`` printed: students that it did not sign are refused;
                default ``KDAIF_PUBLIC_KEY``.
        """
        if not target:
            raise InvalidArgument.of("target", "is empty; give host:port, for example localhost:50051")
        if timeout_s <= 0 or patience_s < 0:
            raise InvalidArgument.of("timeout_s and patience_s", f"are {timeout_s} and {patience_s}; give seconds")
        if not 1 <= upload_streams <= _MOST_STREAMS:
            raise InvalidArgument.of("upload_streams", f"is {upload_streams}; give 1 to {_MOST_STREAMS}")
        self.tenant = tenant
        self._upload_streams = upload_streams
        self._patience_s = patience_s
        credentials = given_or_environment(
            api_key=api_key,
            tls=tls,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            client_key=client_key,
            plaintext_key=plaintext_key,
            public_key=public_key,
        )
        self._rpc = AsyncRpc(target, timeout_s, away_s=min(timeout_s, patience_s), credentials=credentials)

    def __repr__(self) -> str:
        return f"AsyncClient({self._rpc.target!r}, tenant={self.tenant!r})"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and every call on it. Jobs go on."""
        await self._rpc.close()

    async def upload_dataset(
        self, data: Any, name: str, *, y: Any = None, ids: Any = None, progress: bool = False
    ) -> Dataset:
        """Uploads a table once: bytes that the server has are not sent again, and a broken upload is resumed.

        Columns: ``id`` (text or integers, unique), the inputs (columns of numbers, text and booleans, or ``features``
        as lists of numbers, or ``text``, or ``image`` as uint8 pictures or as PNG or JPEG bytes), and where there are
        any ``label`` (null means unlabelled; NaN becomes null), ``truth``, ``teacher_logits``,
        ``teacher_probabilities`` or ``teacher_label``, ``weight_override`` and ``group_...``. Without an ``id`` column
        the rows are called ``{name}-000001``, ``{name}-000002`` and so on, so give different sets different names.

        Args:
            data: a pandas or polars frame, a pyarrow table, a dict of numpy arrays, one numpy array, or the path of a
                file: Parquet (sent as it is where it has ids), .csv, .jsonl or .ndjson, .arrow or .feather, or .npz
                with an array for each column. CSV and Arrow files are not read into memory whole. Of an array, uint8
                [N, H, W] or [N, H, W, C] becomes ``image`` and numbers [N, D] become ``features``.
            name: what people call it.
            y: labels beside a numpy array, one for each row.
            ids: ids beside a numpy array, one for each row.
            progress: show a bar on the terminal's error stream.

        Raises:
            InvalidArgument: the data cannot be a table, or the server refuses it.
            NotFound: there is no such file.
            Unavailable: the server stayed away for longer than the client's patience.
        """
        async with entered(parquet_file(data, name, y, ids)) as file:
            with byte_bar(f"Uploading {name}", shown=progress) as tell:
                return await upload(
                    self._rpc, self.tenant, file, name, self._patience_s, tell, streams=self._upload_streams
                )

    async def upload_model(
        self, path: str | os.PathLike[str], name: str | None = None, *, progress: bool = False
    ) -> Dataset:
        """Uploads a model once, as ``upload_dataset`` does a table.

        Args:
            path: an ``.onnx`` file, for ``OnnxTeacher``; a Hugging Face directory, for ``TransformerTeacher``, of which
                ``config.json``, the tokenizer's files and ``*.safetensors`` are sent, or an uncompressed ``.tar`` of
                one; or a ``.safetensors`` file, for ``initial_weights``.
            name: what people call it; default the name of the file without its end, or of the directory.
            progress: show a bar on the terminal's error stream.

        Raises:
            InvalidArgument: it is no such model, its weights are pickled, or the server refuses it.
            NotFound: there is nothing at ``path``.
        """
        name = model_name(Path(path)) if name is None else name
        async with entered(model_file(Path(path))) as (file, kind):
            with byte_bar(f"Uploading {name}", shown=progress) as tell:
                streams = self._upload_streams
                return await upload(self._rpc, self.tenant, file, name, self._patience_s, tell, kind, streams)

    async def register_dataset(self, uri: str, name: str, *, kind: DatasetKind | str | None = None) -> Dataset:
        """Makes a data set of a file that stays where it is. The server reads it once, to hash and check it.

        Jobs train on those bytes alone: should the file change, a worker without a copy of them fails. Deleting the
        data set leaves the file alone.

        Args:
            uri: ``file:///path`` on the server's machine, or ``s3://bucket/key``; below what the server allows.
            name: what people call it.
            kind: default by the end of ``uri``: ``.onnx``, ``.safetensors``, ``.tar`` (a transformer), else a table.

        Raises:
            InvalidArgument: the server does not allow this place, or the file is not of this kind.
            NotFound: there is no such file.
        """
        return await register(self._rpc, self.tenant, uri, name, kind_by_name(uri) if kind is None else kind)

    async def get_dataset(self, name: str) -> Dataset:
        """One data set, by resource name or id."""
        request = datasets_pb2.GetDatasetRequest(name=resource_name(self.tenant, "datasets", name))
        return _convert.dataset((await self._rpc.call(self._rpc.datasets.GetDataset, request)).dataset)

    def list_datasets(self, limit: int | None = None) -> AsyncIterator[Dataset]:
        """The tenant's data sets, in the order of their ids."""
        request = datasets_pb2.ListDatasetsRequest(parent=self._parent, page_size=page_size(limit))
        found = pages(self._rpc, self._rpc.datasets.ListDatasets, request)
        return first((_convert.dataset(each) async for page in found for each in page.datasets), limit)

    async def delete_dataset(self, dataset: Dataset | str) -> None:
        """Deletes a data set. A job that already runs keeps the copy that it loaded."""
        request = datasets_pb2.DeleteDatasetRequest(name=resource_name(self.tenant, "datasets", dataset))
        await self._rpc.call(self._rpc.datasets.DeleteDataset, request)

    @overload
    async def submit(
        self,
        labeled: Dataset | str,
        unlabeled: Dataset | str,
        validation: Dataset | str | None = ...,
        test: Dataset | str | None = ...,
        external: Dataset | str | None = ...,
        *,
        validate_only: Literal[False] = ...,
        request_id: str | None = ...,
        display_name: str = ...,
        **options: Unpack[SpecOptions],
    ) -> AsyncJob: ...

    @overload
    async def submit(
        self,
        labeled: Dataset | str,
        unlabeled: Dataset | str,
        validation: Dataset | str | None = ...,
        test: Dataset | str | None = ...,
        external: Dataset | str | None = ...,
        *,
        validate_only: Literal[True],
        request_id: str | None = ...,
        display_name: str = ...,
        **options: Unpack[SpecOptions],
    ) -> tuple[Finding, ...]: ...

    async def submit(
        self,
        labeled: Dataset | str,
        unlabeled: Dataset | str,
        validation: Dataset | str | None = None,
        test: Dataset | str | None = None,
        external: Dataset | str | None = None,
        *,
        validate_only: bool = False,
        request_id: str | None = None,
        display_name: str = "",
        **options: Unpack[SpecOptions],
    ) -> AsyncJob | tuple[Finding, ...]:
        """Checks everything and queues a distillation job. What is ``None`` takes the server's default.

        Args:
            labeled: rows with human labels.
            unlabeled: the pool that the teacher labels.
            validation: human labels that score the weights. Left out: a share of ``labeled`` is set aside.
            test: human labels that only measure the result. Left out: a share of ``labeled`` is set aside.
            external: human labels of an outer set on which the report repeats the comparison; used for nothing else.
            class_names: in the order of the student's outputs. Left out: the sorted labels.
            teacher: ``TrainedTeacher`` (default), ``ColumnTeacher``, ``OnnxTeacher``, ``TransformerTeacher`` or
                ``EnsembleTeacher``.
            student: ``Auto`` (default), or a network of ``kdaif_client.architectures``.
            training: rounds, batch size, temperature and so on.
            weighting: how influence becomes a weight.
            control_arms: of ``"supervised"``, ``"uniform"``, ``"oracle"``; trained beside the influence arm.
            splits: shares that are set aside.
            device: ``"auto"`` (default), ``"cpu"``, ``"cuda"`` or ``"cuda:n"``.
            max_runtime_s: wall-clock limit of one attempt.
            max_attempts: starts before the job is given up as DEAD.
            inputs: how the columns become the student's input.
            checks: what happens to rows that cannot be used.
            initial_weights: parameters that the student starts from.
            scheduling: priority, what the worker must have, and by when the job must be over.
            monitoring: bars of the alarms, and whether an alarm pauses the job.
            overrides: decisions on single samples that were recorded at another job; ``rerun`` sets it.
            export: variants of the student, the oldest runtime that must read it, and its budgets.
            request_id: the same id and arguments give the same job, however often they are sent. Made when left out.
            validate_only: queue nothing, return what preflight finds.
            display_name: what people call the job.

        Returns:
            The job, or with ``validate_only`` the findings.

        Raises:
            InvalidArgument: the spec or the data are wrong; ``violations`` has one entry for each field.
            AlreadyExists: ``request_id`` was used for another job.
        """
        spec = Spec(labeled, unlabeled, validation, test, external, **options)
        if validate_only:
            return await self.validate(spec)
        return await self.submit_spec(spec, request_id=request_id, display_name=display_name)

    async def submit_spec(self, spec: Spec, *, request_id: str | None = None, display_name: str = "") -> AsyncJob:
        """As ``submit``, for a spec that is at hand as a whole, for example from ``job.info.spec``."""
        info = await queued(self._rpc, self.tenant, spec, request_id, display_name)
        return AsyncJob(self._rpc, self._patience_s, info)

    async def rerun(
        self,
        job: AsyncJob | str,
        *,
        with_overrides: bool = True,
        request_id: str | None = None,
        display_name: str = "",
        **changes: Any,
    ) -> AsyncJob:
        """Queues a job again as a new one, with what people decided on its samples.

        Args:
            job: whose spec is taken.
            with_overrides: up to the latest revision of ``job``; those that it itself was run with hold too.
            request_id: as that of ``submit``.
            display_name: of the new job.
            changes: other arguments of ``submit``, such as ``training``, in place of those of ``job``.
        """
        former = await self.get_job(job.name if isinstance(job, AsyncJob) else job)
        spec = await spec_again(former, changes, with_overrides=with_overrides)
        return await self.submit_spec(spec, request_id=request_id, display_name=display_name)

    async def validate(self, spec: Spec) -> tuple[Finding, ...]:
        """What preflight finds in the data of a spec; nothing is queued."""
        return (await self.preflight(spec)).findings

    async def preflight(self, spec: Spec) -> Preflight:
        """What preflight finds in the data of a spec, and what the job would cost; nothing is queued."""
        return await looked_at(self._rpc, self.tenant, spec)

    async def rejected_rows(self, spec: Spec) -> pa.Table:
        """The rows that a job of this spec would leave out, and why; nothing is queued.

        Returns:
            ``data_set`` (its role, such as ``unlabeled``), ``id`` as text, ``code``, ``field`` and ``reason``; a row is
            there once. Of data that the server refuses, the rows found until then.
        """
        return await rejected(self._rpc, self.tenant, spec)

    async def get_job(self, name: str) -> AsyncJob:
        """One job, by resource name or id."""
        request = jobs_pb2.GetDistillationJobRequest(name=resource_name(self.tenant, "distillationJobs", name))
        answer = await self._rpc.call(self._rpc.jobs.GetDistillationJob, request)
        return AsyncJob(self._rpc, self._patience_s, _convert.job(answer.job))

    def list_jobs(self, states: Sequence[JobState | str] = (), limit: int | None = None) -> AsyncIterator[AsyncJob]:
        """The tenant's jobs, newest first; only those in ``states`` when any are given."""
        request = jobs_pb2.ListDistillationJobsRequest(
            parent=self._parent, page_size=page_size(limit), states=[_convert.state_to_proto(state) for state in states]
        )
        found = pages(self._rpc, self._rpc.jobs.ListDistillationJobs, request)
        jobs = (AsyncJob(self._rpc, self._patience_s, _convert.job(each)) async for page in found for each in page.jobs)
        return first(jobs, limit)

    async def get_student(self, name: str) -> StudentInfo:
        """The listing of one student, by resource name or id. ``Job.download_student`` fetches it."""
        request = students_pb2.GetStudentRequest(name=resource_name(self.tenant, "students", name))
        return _convert.student((await self._rpc.call(self._rpc.students.GetStudent, request)).student)

    def list_students(self, limit: int | None = None) -> AsyncIterator[StudentInfo]:
        """The tenant's students, newest first."""
        request = students_pb2.ListStudentsRequest(parent=self._parent, page_size=page_size(limit))
        found = pages(self._rpc, self._rpc.students.ListStudents, request)
        return first((_convert.student(each) async for page in found for each in page.students), limit)

    def line(self, name: str = "default") -> AsyncLine:
        """A line of students: champion, canary, rollouts. It is there once it has a champion.

        Args:
            name: lower-case letters, digits and hyphens.
        """
        return AsyncLine(self._rpc, self.tenant, name, self._patience_s)

    def list_lines(self) -> AsyncIterator[LineInfo]:
        """The tenant's lines, by name."""
        request = students_pb2.ListLinesRequest(parent=self._parent, page_size=page_size(None))
        found = pages(self._rpc, self._rpc.students.ListLines, request)
        return (_convert_rollout.line(each) async for page in found for each in page.lines)

    def audit(self, limit: int | None = None) -> AsyncIterator[AuditEntry]:
        """What people decided, newest first: overrides, reviews, and changes of lines; who, when, why and what."""
        return first(entries(self._rpc, self.tenant, limit), limit)

    async def verify_audit(self, expected: tuple[int, str] | None = None) -> AuditReport:
        """Checks that no entry of the audit log was changed or removed: each holds the hash of the one before.

        Args:
            expected: number and hash of an entry, as an earlier report told them: shows a log that was cut off.
        """
        return await checked(self.audit(), expected)

    @property
    def _parent(self) -> str:
        return f"tenants/{self.tenant}"

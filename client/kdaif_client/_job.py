# Generated from _async/job.py by tools/generate_blocking.py; edit that, then run `make blocking`.
"""A handle on one distillation job."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from kdaif_proto.v1 import jobs_pb2, students_pb2

from kdaif_client import _convert, _weights
from kdaif_client._compared import changes
from kdaif_client._convert_weights import decisions
from kdaif_client._download import download
from kdaif_client._progress import byte_bar, job_bar
from kdaif_client._rpc import Patience, Rpc, was_cut
from kdaif_client._running import first, in_thread
from kdaif_client._swap import refuse_swapped
from kdaif_client.bundle import Student
from kdaif_client.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    JobFailed,
    KdaifClientError,
    ServerError,
    WaitTimeout,
)
from kdaif_client.explanation import Explanation, explained
from kdaif_client.types import JobEvent, JobInfo, JobResult, JobState, StudentInfo
from kdaif_client.weight_types import Difference, OverrideRevision, SampleWeight, WeightSummary

__all__ = ["Job"]

# A watch is cut and taken up again at least this often, so that no stream lives for ever.
_WATCH_S = 3600.0
# A stream that stood this long was connected, however quiet the job was.
_LIVELY_S = 10.0
# The server's default; a job that it returns has all its settings written out.
_SHARPNESS = 2.0


class Job:
    """One distillation job. Made by ``Client.submit``, ``get_job`` and ``list_jobs``.

    ``info`` is what the server said last; ``refresh`` asks again.

    Attributes:
        info: everything about the job, as a frozen value.
    """

    def __init__(self, rpc: Rpc, patience_s: float, info: JobInfo) -> None:
        self._rpc = rpc
        self._patience_s = patience_s
        self.info = info

    def __repr__(self) -> str:
        return f"Job({self.name!r}, {self.info.state})"

    @property
    def name(self) -> str:
        """Resource name, ``tenants/{tenant}/distillationJobs/{id}``."""
        return self.info.name

    @property
    def state(self) -> JobState:
        """State when the server was asked last."""
        return self.info.state

    def refresh(self) -> Job:
        """Asks the server again; returns the same handle."""
        request = jobs_pb2.GetDistillationJobRequest(name=self.name)
        self.info = _convert.job(self._rpc.call(self._rpc.jobs.GetDistillationJob, request).job)
        return self

    def cancel(self) -> Job:
        """Asks for the end of the job. One that waits ends at once, a running one within seconds."""
        request = jobs_pb2.CancelDistillationJobRequest(name=self.name)
        self.info = _convert.job(self._rpc.call(self._rpc.jobs.CancelDistillationJob, request).job)
        return self

    def resume(
        self,
        *,
        author: str = "",
        reason: str = "",
        pin: Mapping[str | int, float] | None = None,
        ban: Sequence[str | int] = (),
        relabel: Mapping[str | int, str] | None = None,
        clear: Sequence[str | int] = (),
    ) -> Job:
        """Lets a job that awaits a review go on, from its last checkpoint and with fresh attempts.

        Decisions on samples hold from the next round on, which is weighed anew; so do those that ``override`` recorded
        meanwhile. Once the weighted student is trained they come too late for this job, and a re-run takes them.

        Args:
            author: who decides; goes into the audit log. Needed with decisions.
            reason: why, likewise.
            pin: as that of ``override``, and so are ``ban``, ``relabel`` and ``clear``.
            ban: samples that shall have no say.
            relabel: classes by id.
            clear: samples on which former decisions no longer hold.
        """
        request = jobs_pb2.ResumeDistillationJobRequest(
            name=self.name,
            author=author,
            reason=reason,
            overrides=decisions(pin or {}, ban, relabel or {}, clear),
        )
        self.info = _convert.job(self._rpc.call(self._rpc.jobs.ResumeDistillationJob, request).job)
        return self

    def reject(self, why: str = "", *, author: str = "") -> Job:
        """Fails a job that awaits a review; ``why`` is kept as its failure's message, ``author`` in the audit log."""
        request = jobs_pb2.RejectDistillationJobRequest(name=self.name, why=why, author=author)
        self.info = _convert.job(self._rpc.call(self._rpc.jobs.RejectDistillationJob, request).job)
        return self

    def delete(self) -> None:
        """Removes a job that has ended, with its events, weights and student.

        Raises:
            FailedPrecondition: the job has not ended; cancel it first.
        """
        self._rpc.call(self._rpc.jobs.DeleteDistillationJob, jobs_pb2.DeleteDistillationJobRequest(name=self.name))

    def retry(self) -> Job:
        """Queues a failed, dead or cancelled job again, from its last checkpoint; a deadline counts anew."""
        request = jobs_pb2.RetryDistillationJobRequest(name=self.name)
        self.info = _convert.job(self._rpc.call(self._rpc.jobs.RetryDistillationJob, request).job)
        return self

    def watch(self, after_sequence: int = 0) -> Iterator[JobEvent]:
        """Every event after ``after_sequence``, then live ones, until the job has ended.

        A restart of the server in between is not seen: the watch goes on after the last event it gave.
        """
        return self._events(after_sequence, None)

    def wait(self, progress: bool = False, timeout_s: float | None = None) -> Job:
        """Blocks until the job has succeeded; while it awaits a review, too.

        Args:
            progress: show a bar on the terminal's error stream.
            timeout_s: give up waiting after so many seconds; the job goes on.

        Raises:
            JobFailed: the job failed, was cancelled or ran out of attempts.
            WaitTimeout: ``timeout_s`` passed.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with job_bar(self.info.display_name or self.name.rsplit("/", 1)[-1], shown=progress) as show:
            for event in self._events(0, deadline):
                show(event)
        self.refresh()
        self._raise_if_failed()
        return self

    @property
    def result(self) -> JobResult:
        """Arms, verdict and the student's name of a succeeded job.

        Raises:
            JobFailed: the job ended without a student.
            FailedPrecondition: the job has not ended yet.
        """
        if self.info.result is None:
            self.refresh()
        self._raise_if_failed()
        if self.info.result is None:
            raise FailedPrecondition(f"Job {self.name} is {self.state} and has no result yet; call job.wait() first.")
        return self.info.result

    def weights(
        self,
        order_by: str = "id",
        limit: int | None = None,
        round: int | None = None,
        ids: Sequence[str | int] | None = None,
        filter: str = "",
    ) -> Iterator[SampleWeight]:
        """The weights of the unlabelled samples, fetched page by page.

        Args:
            order_by: ``id``, ``weight``, ``val_loss_change_if_upweighted``, ``log_odds``, ``teacher_confidence`` or
                another column of numbers, with `` desc`` behind it for the largest first. The most harmful come first
                by ``"val_loss_change_if_upweighted desc"``.
            limit: how many at most.
            round: default the last one.
            ids: only these samples, in this order; ``order_by`` and ``filter`` are then without effect.
            filter: conditions on any column, such as ``group_sex = "F" AND weight < 0.2 AND pseudo_label = "cat"``.
                There are AND, OR, NOT, IN, parentheses, ``= NULL`` and ``!= NULL``.
        """
        if ids is not None:
            found = _weights.of_ids(self._rpc, self.name, ids, round or 0)
            return first(found, limit)
        return _weights.listed(
            self._rpc, self.name, order_by=order_by, where=filter, round_number=round or 0, limit=limit
        )

    def weights_table(self, round: int | None = None, filter: str = "") -> pa.Table:
        """All weights of a round as one Arrow table, by id; ``.to_pandas()`` makes a data frame of it.

        For polars: ``polars.from_arrow(job.weights_table())``. ``weights_batches`` gives the same bit by bit.

        Args:
            round: default the last one.
            filter: as that of ``weights``.
        """
        batches = [batch for batch in self.weights_batches(round, filter)]
        if batches:
            return pa.Table.from_batches(batches)
        one = [batch for batch in first(self.weights_batches(round), 1)]
        return pa.Table.from_batches(one).slice(0, 0)

    def weights_batches(self, round: int | None = None, filter: str = "") -> Iterator[pa.RecordBatch]:
        """All weights of a round as Arrow record batches, by id, in memory one at a time.

        A stream that breaks off goes on where it did.
        """
        return _weights.batches(self._rpc, self.name, filter, round or 0, self._patience_s)

    def weight_history(self, ids: Sequence[str | int]) -> dict[str, list[SampleWeight]]:
        """What these samples weighed in each round that computed weights, by id, in the order of rounds."""
        return _weights.history(self._rpc, self.name, ids)

    def explain(self, sample: str | int) -> Explanation:
        """Why a sample weighs what it weighs; ``print`` it.

        The parts of its weight, its history and decisions; and as far as the job computed them, the validation rows
        that it helps and harms most and the rows nearest to it in the student's eyes (see ``Monitoring``).
        """
        (history,) = self.weight_history([sample]).values()
        weighting = self.info.spec.weighting
        sharpness = weighting.sharpness if weighting is not None and weighting.sharpness is not None else _SHARPNESS
        evidence, made_by = _weights.evidence(self._rpc, self.name, sample)
        return explained(history, self.override_revisions(), sharpness, evidence, made_by)

    def summarize_weights(self, round: int | None = None, filter: str = "") -> WeightSummary:
        """A round at a glance: histograms, quantiles, means by class and group, effective sample size, provenance."""
        return _weights.summarize(self._rpc, self.name, filter, round or 0)

    def compare(self, other: Job) -> Difference:
        """What ``other``, such as a re-run with overrides, has that this job has not: accuracies and weights."""
        mine, others = self.result, other.result
        accuracy = {arm.arm: arm.accuracy for arm in mine.arms}
        differences = {arm.arm: arm.accuracy - accuracy[arm.arm] for arm in others.arms if arm.arm in accuracy}
        first_table, second_table = self.weights_table(), other.weights_table()
        return Difference(differences, *in_thread(changes, first_table, second_table))

    def override(
        self,
        *,
        pin: Mapping[str | int, float] | None = None,
        ban: Sequence[str | int] = (),
        relabel: Mapping[str | int, str] | None = None,
        clear: Sequence[str | int] = (),
        author: str,
        reason: str,
    ) -> OverrideRevision:
        """Records decisions on single samples, for a re-run. A job that succeeded and its student stay what they are.

        A job that awaits a review honours them itself, once it is resumed.

        Args:
            pin: the weight that a sample shall have, 0 or more, by id; 1 is that of an average sample.
            ban: samples that shall have no say.
            relabel: the class that a sample is of, whatever the teacher says, by id.
            clear: samples on which former decisions no longer hold.
            author: who decides.
            reason: why. Both are kept for good.
        """
        return _weights.override(
            self._rpc,
            self.name,
            pin=pin or {},
            ban=ban,
            relabel=relabel or {},
            clear=clear,
            author=author,
            reason=reason,
        )

    def override_revisions(self) -> tuple[OverrideRevision, ...]:
        """Every decision ever recorded on this job's samples, oldest first: who, when, why and what."""
        return _weights.revisions(self._rpc, self.name)

    def student(self) -> StudentInfo:
        """The listing of the student's bundle: its files with their hashes."""
        result = self.result
        request = students_pb2.GetStudentRequest(name=result.student)
        return _convert.student(self._rpc.call(self._rpc.students.GetStudent, request).student)

    def download_bundle(self, path: str | Path, progress: bool = False) -> Path:
        """Fetches and verifies the bundle without running it, so that onnxruntime is not needed. Returns the folder."""
        folder = Path(path)
        refuse_swapped(folder)
        with byte_bar("Downloading", shown=progress) as tell:
            download(self._rpc, self.student(), folder, self._patience_s, tell)
        return folder

    def download_student(self, path: str | Path, progress: bool = False) -> Student:
        """Fetches the bundle into a folder and opens it.

        A broken download goes on where it stopped, also in a later call. Each file is checked against the hash in the
        server's listing and in ``manifest.json`` before any of them is put in place.

        Raises:
            CorruptDownload: bytes that do not match their hash.
            InvalidArgument: ``path`` is kept by a pull of a line's champion.
            MissingDependency: onnxruntime is not installed; the files are in ``path`` nevertheless.
        """
        return in_thread(Student.open, self.download_bundle(path, progress))

    def _raise_if_failed(self) -> None:
        if self.state.is_terminal and self.state is not JobState.SUCCEEDED:
            failure = self.info.failure
            raise JobFailed(
                self.name, str(self.state), failure.reason if failure else "", failure.message if failure else ""
            )

    def _events(self, after_sequence: int, deadline: float | None) -> Iterator[JobEvent]:
        last = after_sequence
        patience = Patience(self._patience_s)
        while True:
            left_s = _WATCH_S if deadline is None else min(_WATCH_S, deadline - time.monotonic())
            if left_s <= 0:
                raise WaitTimeout(f"Job {self.name} is not done yet and goes on; wait again, or job.cancel() it.")
            request = jobs_pb2.WatchDistillationJobRequest(name=self.name, after_sequence=last)
            opened = time.monotonic()
            try:
                with self._rpc.receive(self._rpc.jobs.WatchDistillationJob, request, timeout_s=left_s) as answers:
                    for answer in answers:
                        event = _convert.event(answer.event)
                        if event.sequence > last:
                            last = event.sequence
                            patience.progress()
                            yield event
                # The stream has ended in peace: the job has ended, or the server is going down.
                if self.refresh().state.is_terminal:
                    return
                error: KdaifClientError = ServerError(f"The server ends every watch of {self.name} at once.")
            except KdaifClientError as broken:
                if not was_cut(broken):
                    raise
                error = broken
            stood_s = time.monotonic() - opened
            if isinstance(error, DeadlineExceeded):
                if stood_s >= left_s - 1.0:
                    continue  # our own limit on the stream, not a fault
            elif stood_s >= _LIVELY_S:
                patience.progress()
            patience.pause(error, left_s)

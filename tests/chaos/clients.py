"""The users of a run: they upload, submit, cancel, ask for retries and look, and write down what was acknowledged."""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from kdaif_client import Client, ColumnTeacher, Dataset, Job, Mlp, Spec, Training, Weighting
from kdaif_client.errors import FailedPrecondition, KdaifClientError

from kdaif.records import JobState
from tests.chaos.history import JobHistory, Submitted, Uploaded
from tests.chaos.log import FaultLog
from tests.chaos.plan import TENANTS, Fault, Plan, PlannedJob
from tests.chaos.proxy import Proxy
from tests.chaos.stand_in import REAL_KINDS, Kind, kind_of

_ATTEMPTS = 12
_REAL_RUNTIME_S = 240
_PAUSE_S = 0.2
_LOOK_EVERY_S = 4.0
_UPLOAD_EVERY_S = 0.8
_PATIENCE_S = 60.0
_RETRIED_SHARE = 0.15
_RESENT_SHARE = 0.1
# Of some seconds, so that other workers have started a process for it before it is over.
_POOL, _ROWS_PER_SHARD = 16_384, 2_048


@dataclass
class Acknowledged:
    """What servers promised. Shared by the users' threads."""

    jobs: dict[tuple[str, str], Submitted] = field(default_factory=dict)
    uploads: list[Uploaded] = field(default_factory=list)
    not_acknowledged: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    lost_answers_of_queued_jobs: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def job(self, planned: PlannedJob, name: str) -> None:
        key = (planned.tenant, planned.request_id)
        with self.lock:
            known = self.jobs.get(key, Submitted(planned.tenant, planned.request_id, frozenset()))
            self.jobs[key] = replace(known, job_ids=known.job_ids | {name.rpartition("/")[2]})

    def ended(self, tenant: str, request_id: str, state: JobState | None) -> None:
        key = (tenant, request_id)
        with self.lock:
            if key in self.jobs:
                self.jobs[key] = replace(self.jobs[key], seen_ended=state)


class Users:
    """Threads that use the system until ``stop``; each has a connection through a proxy of its own."""

    def __init__(
        self, plan: Plan, proxies: Sequence[Proxy], acknowledged: Acknowledged, log: FaultLog, stopping: threading.Event
    ) -> None:
        self._plan = plan
        self._proxies = proxies
        self._acknowledged = acknowledged
        self._log = log
        self._stopping = stopping
        self._specs: dict[str, Spec] = {}
        self._large_specs: dict[str, Spec] = {}
        self._threads: list[threading.Thread] = []

    def prepare(self) -> None:
        """Uploads the data of the jobs."""
        labeled, unlabeled = training_tables(self._plan.seed)
        _, pool = training_tables(self._plan.seed, pool=_POOL)
        for tenant in TENANTS:
            tables = (("l", labeled), ("u", unlabeled), ("pool", pool))
            found = [self._upload_now(table, name, tenant) for name, table in tables]
            self._acknowledged.uploads += [Uploaded(tenant, _id(d.name), d.sha256) for d in found]
            self._specs[tenant] = Spec(
                labeled=found[0],
                unlabeled=found[1],
                teacher=ColumnTeacher("logits", class_names=("no", "yes")),
                student=Mlp(hidden_sizes=(4,)),
                training=Training(rounds=2, epochs_per_round=1, seeds=1),
                weighting=Weighting(method="uniform"),
                control_arms=("uniform",),
                max_attempts=_ATTEMPTS,
            )
            self._large_specs[tenant] = replace(
                self._specs[tenant],
                unlabeled=found[2],
                student=Mlp(hidden_sizes=(256, 256)),
                training=Training(rounds=2, epochs_per_round=1, seeds=1, batch_size=512),
                weighting=Weighting(solver="cg", blocks=32, cg_steps=2, canary_bar=0.0),
                control_arms=("supervised",),
            )

    def start(self) -> None:
        jobs = self._plan.planned_jobs()
        # The last sixth of the time is for the end of what was submitted.
        step_s = self._plan.chaos_s * 5 / 6 / len(jobs)
        due = [(number * step_s, job) for number, job in enumerate(jobs)]
        n = self._plan.submitters
        for place in range(n):
            self._run(f"submitter-{place}", partial(self._submit_all, due[place::n], self._proxies[place]))
        self._run("uploader", lambda: self._upload_all(self._proxies[n]))
        self._run("watcher", lambda: self._watch_all(self._proxies[n + 1]))

    def submitted_all(self) -> bool:
        """Whether every planned job was acknowledged, or given up."""
        return not any(thread.is_alive() for thread in self._threads if thread.name.startswith("submitter"))

    def join(self, timeout_s: float) -> bool:
        """Whether all have come to their end in time."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def submit(self, planned: PlannedJob, proxy: Proxy) -> Job | None:
        """Sends one request until it is answered. None: the run ended before."""
        spec = self.spec_of(planned)
        while not self._stopping.is_set():
            try:
                with _client(proxy, planned.tenant) as client:
                    job = client.submit_spec(spec, request_id=planned.request_id, display_name=planned.request_id)
                    self._acknowledged.job(planned, job.name)
                    return job
            except KdaifClientError as error:
                self._expected(f"submit {planned.request_id}", error)
        return None

    def spec_of(self, planned: PlannedJob) -> Spec:
        kind = kind_of(planned.request_id)
        is_large = kind in (Kind.REAL_SHARDED, Kind.REAL_WHOLE)
        spec = (self._large_specs if is_large else self._specs)[planned.tenant]
        if kind in (Kind.SHARDED, Kind.REAL_SHARDED):
            spec = replace(spec, weighting=replace(spec.weighting or Weighting(), rows_per_shard=_ROWS_PER_SHARD))
        runtime_s = self._plan.hanging_s if kind is Kind.HANGING else self._plan.max_runtime_s
        if kind in REAL_KINDS:
            runtime_s = _REAL_RUNTIME_S
        return replace(spec, max_runtime_s=runtime_s, max_attempts=3 if kind is Kind.POISON else spec.max_attempts)

    def _upload_now(self, table: pa.Table, name: str, tenant: str) -> Dataset:
        while True:
            try:
                with _client(self._proxies[0], tenant) as client:
                    return client.upload_dataset(table, name)
            except KdaifClientError as error:  # the servers are still starting
                self._expected(f"upload {name}", error)

    def _run(self, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self._acknowledged.broken.append(f"{name}: {error!r}")

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _submit_all(self, jobs: list[tuple[float, PlannedJob]], proxy: Proxy) -> None:
        draw = random.Random(f"{self._plan.seed} {proxy.port}")
        started = time.monotonic()
        for due_s, planned in jobs:
            if self._stopping.wait(max(0.0, started + due_s - time.monotonic())):
                self._acknowledged.not_acknowledged.append(planned.request_id)
                continue
            lost = self._submit_through_a_lost_answer(planned, proxy) if planned.answer_is_lost else None
            job = lost or self.submit(planned, proxy)
            if job is None:
                self._acknowledged.not_acknowledged.append(planned.request_id)
                continue
            if draw.random() < _RESENT_SHARE:
                self.submit(planned, proxy)
            if planned.is_cancelled:
                threading.Timer(draw.uniform(0.0, 2.0), self._cancel, (planned, job, proxy)).start()

    def _submit_through_a_lost_answer(self, planned: PlannedJob, proxy: Proxy) -> Job | None:
        deafness_s = 0.5
        answered = threading.Thread(target=proxy.lose_answers, args=(deafness_s,), daemon=True)
        with _client(proxy, planned.tenant) as client:
            # Connected before: the answers of a handshake would else be lost, and no request would be sent.
            with contextlib.suppress(KdaifClientError):
                next(client.list_datasets(limit=1), None)
            answered.start()
            lost_until = time.time() + deafness_s
            job: Job | None
            try:
                job = client.submit_spec(
                    self.spec_of(planned), request_id=planned.request_id, display_name=planned.request_id
                )
            except KdaifClientError as error:
                self._expected(f"submit {planned.request_id}", error)
                job = self.submit(planned, proxy)
            answered.join(10)
        self._log.add(Fault.ANSWER_LOST, planned.request_id, deafness_s)
        if job is not None:
            self._acknowledged.job(planned, job.name)
            made = job.info.create_time
            if made is not None and made.timestamp() < lost_until and time.time() > lost_until:
                with self._acknowledged.lock:
                    self._acknowledged.lost_answers_of_queued_jobs += 1
        return job

    def _cancel(self, planned: PlannedJob, job: Job, proxy: Proxy) -> None:
        with contextlib.suppress(KdaifClientError), _client(proxy, planned.tenant) as client:
            client.get_job(job.name).cancel()

    def _upload_all(self, proxy: Proxy) -> None:
        draw = random.Random(f"uploads of {self._plan.seed}")
        number = 0
        while not self._stopping.wait(_UPLOAD_EVERY_S):
            number += 1
            tenant = draw.choice(TENANTS)
            # Mostly small; some are cut in the middle.
            file = _random_parquet(
                draw.randrange(2**32), rows=draw.choice((50, 500, 40_000 if number % 4 == 0 else 50))
            )
            try:
                with _client(proxy, tenant) as client:
                    found = client.upload_dataset(file, f"upload-{number}")
                self._acknowledged.uploads.append(Uploaded(tenant, _id(found.name), found.sha256))
            except KdaifClientError as error:
                self._expected(f"upload {number}", error)

    def _watch_all(self, proxy: Proxy) -> None:
        """Writes down each end that a server tells of, and asks for some of the failed jobs to be retried."""
        draw = random.Random(f"retries of {self._plan.seed}")
        considered: set[str] = set()
        while not self._stopping.wait(_LOOK_EVERY_S):
            for tenant in TENANTS:
                with contextlib.suppress(KdaifClientError), _client(proxy, tenant) as client:
                    for job in client.list_jobs(states=("SUCCEEDED", "FAILED", "DEAD", "CANCELLED")):
                        if job.name in considered:
                            continue
                        considered.add(job.name)
                        self._acknowledged.ended(tenant, job.info.display_name, JobState(str(job.state)))
                        if job.state.name in ("FAILED", "DEAD") and draw.random() < _RETRIED_SHARE:
                            self._acknowledged.ended(tenant, job.info.display_name, None)
                            with contextlib.suppress(KdaifClientError):
                                job.retry()

    def _expected(self, doing: str, error: KdaifClientError) -> None:
        """Waits a little where an outage explains the error. Any other is a finding, and raised."""
        outage = error.code in ("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "UNKNOWN", "INTERNAL")
        if not outage or error.reason == "INTERNAL":
            raise AssertionError(f"{doing}: {error.code} {error}") from error
        time.sleep(_PAUSE_S)


def _seen_attempt(client: Client, job: Job, folder: Path) -> int | None:
    """The attempt whose bundle a client gets, each file verified; None where the server refuses. Raises on the rest."""
    try:
        bundle = job.download_bundle(folder)
    except FailedPrecondition:
        return None
    return int(json.loads((Path(bundle) / "manifest.json").read_text())["attempt"])


def as_seen(history: JobHistory, client: Client) -> JobHistory:
    """With what a client gets of it from a server."""
    artifacts = history.artifacts
    with tempfile.TemporaryDirectory() as folder:
        try:
            seen = _seen_attempt(client, client.get_job(history.job.id), Path(folder))
        except KdaifClientError as error:
            faults = (*artifacts.faults, f"a client could not get it: {error}")
            return replace(history, artifacts=replace(artifacts, faults=faults))
    return replace(history, artifacts=replace(artifacts, seen_attempt=seen))


def training_tables(seed: int, pool: int = 60) -> tuple[pa.Table, pa.Table]:
    """120 labelled rows in two classes, and a pool of unlabelled ones with what a teacher said."""
    draw = np.random.default_rng(seed)

    def inputs(rows: int, labels: np.ndarray) -> dict[str, np.ndarray]:
        return {f"x{place}": draw.normal(size=rows) + labels for place in range(3)}

    labels = np.arange(120) % 2
    labeled = {"id": [f"l{n}" for n in range(120)], **inputs(120, labels), "label": np.array(["no", "yes"])[labels]}
    truth = np.arange(pool) % 2
    logits = np.stack([1.0 - 2 * truth, 2.0 * truth - 1], axis=1).tolist()
    unlabeled = {"id": [f"u{n}" for n in range(pool)], **inputs(pool, truth), "teacher_logits": logits}
    return pa.table(labeled), pa.table(unlabeled)


def _random_parquet(seed: int, rows: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    return pa.table({"id": [f"{seed}-{n}" for n in range(rows)], "x": draw.normal(size=rows)})


def _client(proxy: Proxy, tenant: str) -> Client:
    return Client(f"127.0.0.1:{proxy.port}", tenant, timeout_s=8.0, patience_s=_PATIENCE_S)


def _id(name: str) -> str:
    return name.rpartition("/")[2]

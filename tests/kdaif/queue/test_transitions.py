"""Any sequence of calls moves jobs only along ``records.TRANSITIONS``; checked against the real server."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Coroutine
from importlib.resources import files
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from kdaif.errors import FailedPreconditionError, FailureReason, FencedError
from kdaif.queue import Claim, JobQueue
from kdaif.records import (
    TERMINAL_STATES,
    TRANSITIONS,
    DistillationSpec,
    Failure,
    JobResult,
    JobState,
    PreflightReport,
    WorkerOffer,
)

T = TypeVar("T")
UNDER_WAY = {JobState.RUNNING, JobState.CANCELLING}
TENANTS = ("a", "b")


def test_only_lawful_transitions(url: str) -> None:
    class Life(RuleBasedStateMachine):
        """The model knows of each job its state and attempt, as the last answer told them."""

        jobs = Bundle("jobs")
        claims = Bundle("claims")

        def __init__(self) -> None:
            super().__init__()
            self.raw = Redis.from_url(url, decode_responses=True)
            self.raw.flushall()
            self.runner = asyncio.Runner()
            self.queue = self.wait(JobQueue.connect(url, retry_delay_s=0.0))
            self.seen: dict[str, tuple[JobState, int]] = {}
            self.tenant_of: dict[str, str] = {}
            self.holder: dict[str, int] = {}

        def wait(self, work: Coroutine[Any, Any, T]) -> T:
            return self.runner.run(work)

        def teardown(self) -> None:
            self.wait(self.queue.close())
            self.runner.close()
            self.raw.close()

        def holds(self, claim: Claim) -> bool:
            return self.holder.get(claim.job.id) == claim.token

        @rule(target=jobs, tenant=st.sampled_from(TENANTS), max_attempts=st.integers(1, 3))
        def submit(self, tenant: str, max_attempts: int) -> str:
            spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, max_attempts=max_attempts)
            job = self.wait(self.queue.submit(tenant, spec, PreflightReport(), request_id=""))
            self.tenant_of[job.id] = tenant
            self.seen[job.id] = (job.state, 0)
            return job.id

        @rule(target=claims)
        def claim(self) -> Any:  # nothing goes into the bundle when nobody waits
            claim = self.wait(self.queue.claim(WorkerOffer("w")))
            waiting = [job_id for job_id, (state, _) in self.seen.items() if state is JobState.QUEUED]
            assert (claim is None) == (not waiting)
            if claim is None:
                return multiple()
            assert claim.job.id in waiting
            assert claim.token == self.seen[claim.job.id][1] + 1
            self.holder[claim.job.id] = claim.token
            return claim

        @rule(claim=claims, action=st.sampled_from(["renew", "publish"]))
        def beat(self, claim: Claim, action: str) -> None:
            try:
                if action == "renew":
                    goes_on = self.wait(self.queue.renew(claim))
                    assert goes_on == (self.seen[claim.job.id][0] is JobState.RUNNING)
                else:
                    self.wait(self.queue.publish(claim, "progress"))
            except FencedError:
                assert not self.holds(claim)
            else:
                assert self.holds(claim)

        @rule(claim=claims, how=st.sampled_from(["succeed", "retryable", "final"]), times=st.integers(1, 2))
        def end(self, claim: Claim, how: str, times: int) -> None:
            failure = Failure(FailureReason.CRASHED, "x", retryable=how == "retryable")
            for _ in range(times):
                was, held = self.seen[claim.job.id][0], self.holds(claim)
                try:
                    if how == "succeed":
                        job = self.wait(self.queue.succeed(claim, JobResult(claim.token, (), "", 1.0)))
                    else:
                        job = self.wait(self.queue.fail(claim, failure))
                except FencedError:
                    assert not held
                    return
                if held:
                    self.holder.pop(claim.job.id)
                    assert job.state not in UNDER_WAY
                    assert (job.state is JobState.CANCELLED) == (was is JobState.CANCELLING)
                    self.look()
                else:  # an acknowledgement
                    assert (job.state, job.attempt) == self.seen[claim.job.id]

        @rule(job_id=jobs)
        def cancel(self, job_id: str) -> None:
            was = self.seen[job_id][0]
            try:
                job = self.wait(self.queue.cancel(self.tenant_of[job_id], job_id))
            except FailedPreconditionError:
                assert was in TERMINAL_STATES - {JobState.CANCELLED}
            else:
                assert job.state in {JobState.CANCELLED, JobState.CANCELLING}

        @rule(job_id=jobs)
        def retry(self, job_id: str) -> None:
            was = self.seen[job_id][0]
            try:
                assert self.wait(self.queue.retry(self.tenant_of[job_id], job_id)).state is JobState.QUEUED
            except FailedPreconditionError:
                assert was not in {JobState.FAILED, JobState.DEAD, JobState.CANCELLED}

        @rule(lost=st.booleans())
        def reap(self, lost: bool) -> None:
            if lost:
                for tenant in TENANTS:
                    held = self.raw.zrange(f"kdaif:{{{tenant}}}:leases", 0, -1)
                    if held:
                        self.raw.zadd(f"kdaif:{{{tenant}}}:leases", dict.fromkeys(held, 1))
            reaped = self.wait(self.queue.reap())
            assert {job.id for job in reaped} == (set(self.holder) if lost else set())
            for job in reaped:
                self.holder.pop(job.id)

        @invariant()
        def agrees(self) -> None:
            self.look()
            self.compare_indexes()

        def look(self) -> None:
            for job_id, (was, attempt) in self.seen.items():
                job = self.wait(self.queue.get(self.tenant_of[job_id], job_id))
                assert job.state is was or job.state in TRANSITIONS[was], f"{was} -> {job.state}"
                assert job.attempt - attempt in {0, 1}
                assert (job.state in UNDER_WAY) == (job_id in self.holder)
                assert (job.ended_at_ms is not None) == (job.state in TERMINAL_STATES)
                assert (job.result is not None) == (job.state is JobState.SUCCEEDED)
                self.seen[job_id] = (job.state, job.attempt)

        def compare_indexes(self) -> None:
            for tenant in TENANTS:
                mine = {job_id: state for job_id, (state, _) in self.seen.items() if self.tenant_of[job_id] == tenant}
                queued = {job_id for job_id, state in mine.items() if state is JobState.QUEUED}
                leased = {job_id for job_id, state in mine.items() if state in UNDER_WAY}
                places = [
                    place
                    for key in ("line", "delayed")
                    for place in self.raw.zrange(f"kdaif:{{{tenant}}}:{key}", 0, -1)
                ]
                assert sorted(place.rpartition("|")[2] for place in places) == sorted(queued)
                assert set(self.raw.zrange(f"kdaif:{{{tenant}}}:leases", 0, -1)) == leased

        @rule(job_id=jobs)
        def history(self, job_id: str) -> None:
            events = self.wait(self.queue.events(self.tenant_of[job_id], job_id, after_sequence=0))
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            for before, after in itertools.pairwise(events):
                if after.kind == "progress":
                    assert (after.state, after.attempt) == (before.state, before.attempt)
                else:
                    assert after.state in TRANSITIONS[before.state], f"{before.state} -> {after.state}"
                assert after.attempt - before.attempt == (after.kind == "claimed")

    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_every_key_is_declared() -> None:
    """Redis Cluster routes a script by its KEYS: a key made inside a script would be looked for on the wrong node."""
    folder = files("kdaif.queue") / "lua"
    names: set[str] = set()
    used: set[str] = set()
    for file in folder.iterdir():
        text = file.read_text("utf-8")
        for left, right in re.findall(r"local ([A-Z, ]+) =\s+(KEYS.*)", text):
            assert len(left.split(",")) == len(re.findall(r"KEYS\[\d+\]", right)), f"{file}: {left}"
            names.update(name.strip() for name in left.split(","))
        for command, key in re.findall(r"redis\.call\('(\w+)'(?:, ([^,)]+))?", text):
            if command != "TIME":
                used.add(key)
    assert used == names

"""Any sequence of calls moves jobs only along ``records.TRANSITIONS``; checked against the real server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from kdaif.errors import FailedPreconditionError, FailureReason, FencedError, NotFoundError
from kdaif.queue import Claim, JobQueue
from kdaif.records import (
    TERMINAL_STATES,
    TRANSITIONS,
    DistillationSpec,
    Failure,
    Job,
    JobResult,
    JobSnapshot,
    JobState,
    PreflightReport,
    Scheduling,
    Shard,
    WorkerOffer,
)
from tests.kdaif.queue.bookkeeping import UNDER_WAY, check_history, check_indexes

T = TypeVar("T")
TENANTS = ("a", "b")
OFFERS = (WorkerOffer("plain"), WorkerOffer("big", gpus=1))
UNSUCCESSFUL = TERMINAL_STATES - {JobState.SUCCEEDED}
# Into and out of these the archive is told.
SETTLED = TERMINAL_STATES | {JobState.AWAITING_REVIEW, JobState.CANCELLING}
ENDS = {
    "succeed": {JobState.SUCCEEDED},
    "retryable": {JobState.QUEUED, JobState.DEAD},
    "final": {JobState.FAILED},
    "review": {JobState.AWAITING_REVIEW},
    "give back": {JobState.QUEUED},
}


def test_only_lawful_transitions(url: str) -> None:
    class Life(RuleBasedStateMachine):
        """The model knows of each job its state and attempt, as the last answer told them, and its place in line."""

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
            self.needs: dict[str, Scheduling] = {}
            self.order: dict[str, int] = {}
            self.last_order = 0
            self.holder: dict[str, int] = {}
            self.highest: dict[str, int] = {}
            self.paused: set[str] = set()
            self.archived: dict[str, JobSnapshot] = {}
            self.due: set[str] = set()
            self.at_work: dict[str, Shard] = {}
            self.cuts = 0

        def wait(self, work: Coroutine[Any, Any, T]) -> T:
            return self.runner.run(work)

        def teardown(self) -> None:
            self.wait(self.queue.close())
            self.runner.close()
            self.raw.close()

        def holds(self, claim: Claim) -> bool:
            return self.holder.get(claim.job.id) == claim.token

        def to_the_end_of_the_line(self, job_id: str) -> None:
            self.last_order += 1
            self.order[job_id] = self.last_order

        def is_gone(self, job_id: str, ask: Coroutine[Any, Any, Any]) -> bool:
            """Whether the job was deleted; the call must then find nothing."""
            if job_id in self.seen:
                ask.close()
                return False
            with pytest.raises(NotFoundError):
                self.wait(ask)
            return True

        @rule(
            target=jobs,
            tenant=st.sampled_from(TENANTS),
            max_attempts=st.integers(1, 3),
            needs=st.sampled_from([Scheduling(), Scheduling(priority=5, deadline_s=3600), Scheduling(gpus=1)]),
        )
        def submit(self, tenant: str, max_attempts: int, needs: Scheduling) -> str:
            spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, max_attempts=max_attempts, scheduling=needs)
            job = self.wait(self.queue.submit(tenant, spec, PreflightReport(), request_id=""))
            self.tenant_of[job.id], self.needs[job.id] = tenant, needs
            self.seen[job.id] = (job.state, 0)
            self.highest[job.id] = 0
            self.to_the_end_of_the_line(job.id)
            self.due.add(job.id)
            return job.id

        @rule(target=claims, offer=st.sampled_from(OFFERS))
        def claim(self, offer: WorkerOffer) -> Any:  # nothing goes into the bundle when nobody waits
            claim = self.wait(self.queue.claim(offer))
            waiting = [
                job_id
                for job_id, (state, _) in self.seen.items()
                if state is JobState.QUEUED and offer.suits(self.needs[job_id])
            ]
            assert (claim is None) == (not waiting or offer.name in self.paused)
            if claim is None:
                return multiple()
            running = Counter(self.tenant_of[job_id] for job_id in self.holder)
            fewest = min(running[self.tenant_of[job_id]] for job_id in waiting)
            assert running[claim.job.tenant] == fewest
            mine = [job_id for job_id in waiting if self.tenant_of[job_id] == claim.job.tenant]
            assert claim.job.id == min(mine, key=lambda each: (-self.needs[each].priority, self.order[each]))
            seen = self.seen[claim.job.id][1]
            assert claim.token == seen + 1 or claim.token % 1000 == 1  # counted on from where a rebuild left it
            assert claim.token > self.highest[claim.job.id]
            self.highest[claim.job.id] = claim.token
            self.seen[claim.job.id] = (JobState.QUEUED, claim.token - 1)
            self.holder[claim.job.id] = claim.token
            return claim

        @rule(claim=claims, action=st.sampled_from(["renew", "publish"]))
        def beat(self, claim: Claim, action: str) -> None:
            if self.is_gone(claim.job.id, self.queue.renew(claim)):
                return
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

        @rule(claim=claims, count=st.integers(1, 3))
        def cut(self, claim: Claim, count: int) -> None:
            named = ("ab" * 32, "cd" * 32)
            shards = [Shard(claim.job.id, n, count, n - 1, n, *named) for n in range(1, count + 1)]
            self.cuts += 1
            ask = self.queue.shards.submit(claim, shards, cut=self.cuts, release="r")
            if self.is_gone(claim.job.id, ask):
                return
            try:
                self.wait(self.queue.shards.submit(claim, shards, cut=self.cuts, release="r"))
            except FencedError:
                assert not self.holds(claim)
            else:
                assert self.holds(claim)

        @rule(claim=claims)
        def score(self, claim: Claim) -> None:
            scored = self.at_work.pop(claim.job.id, None)
            if self.is_gone(claim.job.id, self.queue.shards.work(claim, "w", scored)):
                return
            try:
                standing = self.wait(self.queue.shards.work(claim, "w", scored))
            except FencedError:
                assert not self.holds(claim)
            else:
                assert self.holds(claim)
                # Nobody else works on shards here.
                assert (standing.to_score is None) == standing.is_over
                if standing.to_score is not None:
                    assert standing.to_score != scored or standing.scored == 0
                    self.at_work[claim.job.id] = standing.to_score

        @rule(
            claim=claims,
            how=st.sampled_from(["succeed", "retryable", "final", "review", "give back"]),
            times=st.integers(1, 2),
        )
        def end(self, claim: Claim, how: str, times: int) -> None:
            calls: dict[str, Callable[[], Coroutine[Any, Any, Job]]] = {
                "succeed": lambda: self.queue.succeed(claim, JobResult(claim.token, (), "", 1.0)),
                "retryable": lambda: self.queue.fail(claim, Failure(FailureReason.CRASHED, "x", retryable=True)),
                "final": lambda: self.queue.fail(claim, Failure(FailureReason.CRASHED, "x", retryable=False)),
                "review": lambda: self.queue.await_review(claim, "x"),
                "give back": lambda: self.queue.give_back(claim, "x"),
            }
            if self.is_gone(claim.job.id, calls[how]()):
                return
            for _ in range(times):
                was, held = self.seen[claim.job.id][0], self.holds(claim)
                try:
                    job = self.wait(calls[how]())
                except FencedError:
                    assert not held
                    return
                if held:
                    self.holder.pop(claim.job.id)
                    assert job.state not in UNDER_WAY
                    assert (job.state is JobState.CANCELLED) == (was is JobState.CANCELLING)
                    if job.state is not JobState.CANCELLED:
                        assert job.state in ENDS[how]
                    self.look()
                else:  # an acknowledgement
                    assert (job.state, job.attempt) == self.seen[claim.job.id]

        @rule(job_id=jobs)
        def cancel(self, job_id: str) -> None:
            if self.is_gone(job_id, self.queue.cancel(self.tenant_of[job_id], job_id)):
                return
            was = self.seen[job_id][0]
            try:
                job = self.wait(self.queue.cancel(self.tenant_of[job_id], job_id))
            except FailedPreconditionError:
                assert was in TERMINAL_STATES - {JobState.CANCELLED}
            else:
                wanted = JobState.CANCELLING if was in UNDER_WAY else JobState.CANCELLED
                assert job.state is wanted

        @rule(job_id=jobs, action=st.sampled_from(["retry", "resume"]))
        def queue_again(self, job_id: str, action: str) -> None:
            call = getattr(self.queue, action)
            if self.is_gone(job_id, call(self.tenant_of[job_id], job_id)):
                return
            was = self.seen[job_id][0]
            lawful = UNSUCCESSFUL if action == "retry" else {JobState.AWAITING_REVIEW}
            try:
                assert self.wait(call(self.tenant_of[job_id], job_id)).state is JobState.QUEUED
                assert was in lawful
                self.to_the_end_of_the_line(job_id)
            except FailedPreconditionError:
                assert was not in lawful

        @rule(job_id=jobs)
        def reject(self, job_id: str) -> None:
            if self.is_gone(job_id, self.queue.reject(self.tenant_of[job_id], job_id, "x")):
                return
            was = self.seen[job_id][0]
            try:
                job = self.wait(self.queue.reject(self.tenant_of[job_id], job_id, "x"))
                assert job.state is JobState.FAILED
                assert was is JobState.AWAITING_REVIEW
            except FailedPreconditionError:
                assert was is not JobState.AWAITING_REVIEW

        @rule(job_id=jobs)
        def delete(self, job_id: str) -> None:
            if self.is_gone(job_id, self.queue.delete(self.tenant_of[job_id], job_id)):
                return
            was = self.seen[job_id][0]
            try:
                self.wait(self.queue.delete(self.tenant_of[job_id], job_id))
            except FailedPreconditionError:
                assert was not in TERMINAL_STATES
            else:
                assert was in TERMINAL_STATES
                self.seen.pop(job_id)
                self.archived.pop(job_id, None)
                self.due.discard(job_id)
                assert (self.tenant_of[job_id], job_id) in self.wait(self.queue.deleted(1000))

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

        @rule(job_id=jobs)
        def pass_the_deadline(self, job_id: str) -> None:
            key = f"kdaif:{{{self.tenant_of[job_id]}}}:deadlines"
            timed = self.raw.zadd(key, {job_id: 1}, xx=True, ch=True)
            ends = timed and self.seen[job_id][0] is not JobState.CANCELLING
            reaped = self.wait(self.queue.reap())
            assert [(job.id, job.state) for job in reaped] == ([(job_id, JobState.FAILED)] if ends else [])
            for job in reaped:
                assert job.failure is not None
                assert job.failure.reason is FailureReason.DEADLINE
                self.holder.pop(job.id, None)

        @rule(offer=st.sampled_from(OFFERS), pauses=st.booleans())
        def pause(self, offer: WorkerOffer, pauses: bool) -> None:
            self.wait(self.queue.announce(offer))
            if pauses:
                self.wait(self.queue.pause_worker(offer.name))
                self.paused.add(offer.name)
            else:
                self.wait(self.queue.unpause_worker(offer.name))
                self.paused.discard(offer.name)

        @rule()
        def archive(self) -> None:
            for snapshot in self.wait(self.queue.unsaved(1000)):
                job = snapshot.job
                before = self.archived.get(job.id)
                assert before is None or before.version < snapshot.version
                assert job.state is self.seen[job.id][0]
                self.due.remove(job.id)
                self.archived[job.id] = snapshot
                self.wait(self.queue.saved(job.tenant, job.id, snapshot.version))
            assert not self.due

        @precondition(lambda self: self.seen)
        @rule()
        def rebuild(self) -> None:
            """Redis is lost with all it knew, and jobs come back as the archive has them."""
            self.archive()
            self.raw.flushall()
            self.holder.clear()
            self.paused.clear()
            for job_id, snapshot in sorted(self.archived.items()):
                assert self.wait(self.queue.restore(snapshot))
                archived = snapshot.job.state
                if archived is JobState.CANCELLING:
                    state = JobState.CANCELLED
                elif archived in TERMINAL_STATES or archived is JobState.AWAITING_REVIEW:
                    state = archived
                else:
                    state = JobState.QUEUED
                self.seen[job_id] = (state, snapshot.job.attempt)
                if state is not JobState.SUCCEEDED:
                    self.due.add(job_id)
                self.to_the_end_of_the_line(job_id)

        @invariant()
        def agrees(self) -> None:
            self.look()
            self.compare_indexes()

        def look(self) -> None:
            for job_id, (was, attempt) in self.seen.items():
                job = self.wait(self.queue.get(self.tenant_of[job_id], job_id))
                assert job.state is was or job.state in TRANSITIONS[was], f"{was} -> {job.state}"
                if job.state is not was and (job.state in SETTLED or was in SETTLED):
                    self.due.add(job_id)
                assert job.attempt - attempt in {0, 1}
                assert (job.state in UNDER_WAY) == (job_id in self.holder)
                assert (job.ended_at_ms is not None) == (job.state in TERMINAL_STATES)
                assert (job.result is not None) == (job.state is JobState.SUCCEEDED)
                self.seen[job_id] = (job.state, job.attempt)

        def compare_indexes(self) -> None:
            for tenant in TENANTS:
                mine = {job_id: state for job_id, (state, _) in self.seen.items() if self.tenant_of[job_id] == tenant}
                timed = {job_id for job_id in mine if self.needs[job_id].deadline_s}
                check_indexes(self.raw, tenant, mine, timed=timed, due=self.due & set(mine))

        @rule(job_id=jobs)
        def history(self, job_id: str) -> None:
            ask = self.queue.events(self.tenant_of[job_id], job_id, after_sequence=0)
            if self.is_gone(job_id, ask):
                return
            events = self.wait(self.queue.events(self.tenant_of[job_id], job_id, after_sequence=0))
            check_history(events)

    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

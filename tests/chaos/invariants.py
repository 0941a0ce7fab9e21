"""What must hold after a run. Values in, violations out; nothing here speaks to anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from kdaif.records import TERMINAL_STATES, JobEvent, JobState
from kdaif.records.job import TRANSITIONS
from tests.chaos.history import JobHistory, Submitted


class Invariant(StrEnum):
    """The promises, by the figures that count their breaches."""

    LOST = "lost"
    DOUBLED = "doubled"
    STALE = "stale_published"
    ORDER = "out_of_order"
    OTHER_WEIGHTS = "other_weights"


@dataclass(frozen=True)
class Violation:
    """A broken promise. ``job_id`` is empty where no job is concerned."""

    invariant: Invariant
    job_id: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.job_id}: {self.what}"


def violations(submitted: Sequence[Submitted], histories: Sequence[JobHistory]) -> list[Violation]:
    """All of them."""
    by_id = {history.job.id: history for history in histories}
    found = [fault for submission in submitted for fault in _of_submission(submission, by_id)]
    names = Counter((history.job.tenant, history.job.display_name) for history in histories)
    for (tenant, name), count in names.items():
        if count > 1:
            found.append(Violation(Invariant.DOUBLED, "", f"request {name} of {tenant} made {count} jobs"))
    for history in histories:
        found += [
            *_not_ended(history),
            *_ends(history),
            *_claims(history),
            *_order(history),
            *_stale(history),
            *_other_weights(history),
        ]
    return found


def _of_submission(submission: Submitted, by_id: Mapping[str, JobHistory]) -> list[Violation]:
    found = []
    if len(submission.job_ids) != 1:
        what = f"request {submission.request_id} was answered with jobs {sorted(submission.job_ids)}"
        found.append(Violation(Invariant.DOUBLED, "", what))
    for job_id in submission.job_ids:
        history = by_id.get(job_id)
        if history is None:
            what = f"request {submission.request_id} of {submission.tenant} was acknowledged, but its job is gone"
            found.append(Violation(Invariant.LOST, job_id, what))
        elif history.job.display_name != submission.request_id:
            found.append(Violation(Invariant.DOUBLED, job_id, f"answers request {submission.request_id} too"))
        elif submission.seen_ended not in (None, history.job.state) and not _was_retried(history):
            what = f"a client saw it {submission.seen_ended}, and now it is {history.job.state}"
            found.append(Violation(Invariant.DOUBLED, job_id, what))
    return found


def _was_retried(history: JobHistory) -> bool:
    return sum(event.kind == "queued" for event in history.events) > 1


def _not_ended(history: JobHistory) -> list[Violation]:
    """Acknowledged or not: a job that is there ends."""
    job = history.job
    if job.state not in TERMINAL_STATES:
        return [Violation(Invariant.LOST, job.id, f"is still {job.state}")]
    if not history.events or history.events[-1].kind != "finished":
        return [Violation(Invariant.LOST, job.id, f"is {job.state}, but its last event is not its end")]
    if history.events[-1].state is not job.state:
        return [Violation(Invariant.LOST, job.id, f"is {job.state}, but ended as {history.events[-1].state}")]
    return []


def _ends(history: JobHistory) -> list[Violation]:
    """One end, and one more for each time that somebody asked for a retry."""
    ends, starts = 0, 0
    for event in history.events:
        starts += event.kind == "queued"
        ends += event.kind == "finished"
        if ends > starts:
            what = f"finished {ends} times, though it was queued {starts} times"
            return [Violation(Invariant.DOUBLED, history.job.id, what)]
    return []


def _claims(history: JobHistory) -> list[Violation]:
    """Each attempt has one owner, and its number is one more than that of the attempt before."""
    attempts = [event.attempt for event in history.events if event.kind == "claimed"]
    if attempts != list(range(1, len(attempts) + 1)):
        return [Violation(Invariant.DOUBLED, history.job.id, f"was claimed as attempts {attempts}")]
    if history.job.attempt != len(attempts):
        what = f"is at attempt {history.job.attempt} after {len(attempts)} claims"
        return [Violation(Invariant.DOUBLED, history.job.id, what)]
    return []


def _order(history: JobHistory) -> list[Violation]:
    """Events without a gap, and only transitions that the state machine draws."""
    sequences = [event.sequence for event in history.events]
    if sequences != list(range(1, len(sequences) + 1)):
        return [Violation(Invariant.ORDER, history.job.id, f"has events {sequences[:20]}")]
    found = []
    state: JobState | None = None
    for event in history.events:
        if state is not None and event.state is not state and event.state not in TRANSITIONS[state]:
            what = f"went from {state} to {event.state} at event {event.sequence}"
            found.append(Violation(Invariant.ORDER, history.job.id, what))
        state = event.state
    return found


def _stale(history: JobHistory) -> list[Violation]:
    """Nothing of an attempt that was fenced off is heard or seen."""
    job, artifacts = history.job, history.artifacts
    found = [
        f"event {event.sequence} of attempt {event.attempt} was said by attempt {event.metrics['said_by']:.0f}"
        for event in history.events
        if event.metrics.get("said_by", event.attempt) != event.attempt
    ]
    found += [
        f"event {event.sequence}, {event.kind}, came while no worker held the job" for event in _unheld(history.events)
    ]
    if job.state is JobState.SUCCEEDED:
        if job.result is None:
            found.append("SUCCEEDED without a result")
        elif job.result.attempt != job.attempt:
            found.append(f"its result is of attempt {job.result.attempt}, but attempt {job.attempt} held it")
        if artifacts.manifest_attempt != job.attempt or artifacts.manifest_job not in ("", job.id):
            found.append(f"its manifest is of attempt {artifacts.manifest_attempt} of {artifacts.manifest_job!r}")
        found += artifacts.faults
        if artifacts.seen_attempt not in (None, job.attempt):
            found.append(f"a client was given attempt {artifacts.seen_attempt}")
    else:
        if job.result is not None:
            found.append(f"{job.state}, but it has the result of attempt {job.result.attempt}")
        if artifacts.seen_attempt is not None:
            found.append(f"{job.state}, but a client was given attempt {artifacts.seen_attempt}")
    return [Violation(Invariant.STALE, job.id, what) for what in found]


def _other_weights(history: JobHistory) -> list[Violation]:
    """Who scored which shard, how often it was tried and what was killed meanwhile is not to be seen in the weights."""
    return [Violation(Invariant.OTHER_WEIGHTS, history.job.id, what) for what in history.artifacts.other_weights]


def _unheld(events: Sequence[JobEvent]) -> list[JobEvent]:
    """What an attempt said after its lease was taken away."""
    held = False
    found = []
    for event in events:
        if event.kind == "claimed":
            held = True
        elif event.kind in ("queued", "requeued", "finished"):
            held = False
        elif event.kind in ("progress", "round", "canary", "warning", "review", "cancelling") and not held:
            found.append(event)
    return found

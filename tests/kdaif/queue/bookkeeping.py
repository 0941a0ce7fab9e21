"""What Redis must hold of jobs in the states that a model knows: indexes that agree, and a history that leads there."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence, Set

from redis import Redis

from kdaif.records import TERMINAL_STATES, TRANSITIONS, JobEvent, JobState

UNDER_WAY = {JobState.RUNNING, JobState.CANCELLING}


def check_indexes(raw: Redis, tenant: str, states: Mapping[str, JobState], *, timed: Set[str], due: Set[str]) -> None:
    """Each index of a tenant holds the jobs that it is there for, and no other.

    Args:
        raw: decodes its responses.
        tenant: whose.
        states: of each of its jobs.
        timed: those that have a deadline.
        due: those that the archive has yet to write.
    """
    queued = {job_id for job_id, state in states.items() if state is JobState.QUEUED}
    leased = {job_id for job_id, state in states.items() if state in UNDER_WAY}
    ended = {job_id for job_id, state in states.items() if state in TERMINAL_STATES}
    key = f"kdaif:{{{tenant}}}:"
    places = raw.zrange(f"{key}line", 0, -1)
    assert raw.zcard(f"{key}delayed") == 0
    in_line = [place.rpartition("|")[2] for place in places]
    assert sorted(job_id for job_id in in_line if "-" not in job_id) == sorted(queued)
    shards = [job_id for job_id in in_line if "-" in job_id]
    shards += [name.removeprefix(f"{key}job:") for name in raw.keys(f"{key}job:*-*")]
    assert {job_id.partition("-")[0] for job_id in shards} <= leased
    counted = {needs: int(count) for needs, count in raw.hgetall(f"{key}needs").items()}
    assert counted == Counter(place.partition("|")[0] for place in places)
    assert set(raw.zrange(f"{key}leases", 0, -1)) == leased
    assert set(raw.zrange(f"{key}ended", 0, -1)) == ended
    deadlines = set(raw.zrange(f"{key}deadlines", 0, -1))
    assert deadlines - leased <= timed - ended
    assert timed - ended - leased <= deadlines
    assert set(raw.hkeys(f"{key}unsaved")) == due
    assert set(raw.zrange(f"{key}jobs", 0, -1)) == set(states)


def check_history(events: Sequence[JobEvent]) -> None:
    """All events of a job are numbered one after the other, and go along ``TRANSITIONS``."""
    first = events[0].sequence
    assert first == 1 or events[0].kind == "restored"
    assert [event.sequence for event in events] == list(range(first, len(events) + first))
    for before, after in itertools.pairwise(events):
        if after.kind == "progress":
            assert (after.state, after.attempt) == (before.state, before.attempt)
        else:
            assert after.state in TRANSITIONS[before.state], f"{before.state} -> {after.state}"
        assert (after.attempt > before.attempt) == (after.kind == "claimed")

"""How large a run is, and how often it harms what. All of it follows from the seed but for what the clock decides."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from tests.chaos.stand_in import REAL_KINDS, Kind

TENANTS = ("acme", "blau", "cesar")


class Fault(StrEnum):
    """What a run does to the system."""

    CHILD_KILLED = "child killed"
    CHILD_STOPPED = "child stopped"
    SUPERVISOR_KILLED = "supervisor killed"
    SUPERVISOR_STOPPED = "supervisor stopped past its lease"
    WORKER_STOPPED = "supervisor and child stopped past the lease"
    WORKER_TOLD_TO_STOP = "worker told to stop"
    SERVER_KILLED = "server killed"
    SERVER_STOPPED = "server stopped past a lease"
    SERVER_TOLD_TO_STOP = "server told to stop"
    VALKEY_KILLED = "Valkey killed"
    VALKEY_STOPPED = "Valkey stopped"
    REDIS_DROPPED = "connections to Redis dropped"
    REDIS_STALLED = "connections to Redis stalled"
    REDIS_ANSWERS_LOST = "answers of Redis lost"
    CLIENTS_DROPPED = "connections of clients dropped"
    CLIENTS_STALLED = "connections of clients stalled"
    ANSWER_LOST = "answer to a submission lost and sent again"
    BLOBS_FULL = "disk of the blobs full"
    VALKEY_FULL = "disk of Valkey full"
    CLOCK_OFF = "clock of a worker one hour off"


# Of 1000 faults. A killed Valkey or server stops everybody, so they are few.
_SHARES = {
    Fault.CHILD_KILLED: 180,
    Fault.CHILD_STOPPED: 100,
    Fault.SUPERVISOR_KILLED: 100,
    Fault.SUPERVISOR_STOPPED: 60,
    Fault.WORKER_STOPPED: 60,
    Fault.WORKER_TOLD_TO_STOP: 40,
    Fault.SERVER_KILLED: 40,
    Fault.SERVER_STOPPED: 20,
    Fault.SERVER_TOLD_TO_STOP: 15,
    Fault.VALKEY_KILLED: 30,
    Fault.VALKEY_STOPPED: 15,
    Fault.REDIS_DROPPED: 80,
    Fault.REDIS_STALLED: 60,
    Fault.REDIS_ANSWERS_LOST: 80,
    Fault.CLIENTS_DROPPED: 40,
    Fault.CLIENTS_STALLED: 30,
    Fault.BLOBS_FULL: 35,
    Fault.VALKEY_FULL: 15,
}

# Of 100 jobs; those that train for real come on top.
_KINDS = {
    Kind.PLAIN: 64,
    Kind.SHARDED: 8,
    Kind.CRASHING: 8,
    Kind.FLAKY: 8,
    Kind.REFUSED: 4,
    Kind.POISON: 3,
    Kind.HANGING: 2,
    Kind.LONG: 3,
}


@dataclass(frozen=True)
class PlannedJob:
    """One job to submit. ``request_id`` is its display name too, so that a job made twice shows."""

    tenant: str
    request_id: str
    answer_is_lost: bool
    is_cancelled: bool


@dataclass(frozen=True)
class Plan:
    """The size of a run."""

    seed: int
    jobs: int
    real_jobs: int
    real_sharded_jobs: int
    faults: int
    chaos_s: float
    settle_s: float
    lease_s: float = 2.0
    workers: int = 4
    servers: int = 2
    submitters: int = 4
    probes: int = 6
    max_runtime_s: int = 60
    hanging_s: int = 4
    disk_mib: int = 96

    @classmethod
    def full(cls, seed: int) -> Plan:
        """Over 500 faults over over 500 jobs, in minutes on 2 cores."""
        return cls(seed=seed, jobs=520, real_jobs=6, real_sharded_jobs=4, faults=540, chaos_s=300.0, settle_s=600.0)

    @classmethod
    def cut(cls, seed: int) -> Plan:
        """The minute of it that the test suite runs."""
        return cls(
            seed=seed,
            jobs=24,
            real_jobs=0,
            real_sharded_jobs=0,
            faults=30,
            chaos_s=18.0,
            settle_s=100.0,
            lease_s=1.5,
            workers=2,
            submitters=2,
            probes=1,
            disk_mib=48,
        )

    def planned_jobs(self) -> list[PlannedJob]:
        """In the order of their submission."""
        draw = random.Random(f"jobs of {self.seed}")
        real = [Kind.REAL] * self.real_jobs + [Kind.REAL_SHARDED] * self.real_sharded_jobs
        # One that is sharded at least, however short the run.
        drawn = draw.choices(list(_KINDS), list(_KINDS.values()), k=self.jobs - len(real) - 1)
        kinds = [Kind.SHARDED, *drawn]
        draw.shuffle(kinds)
        # The long ones first, or the end of the run would wait for them alone.
        kinds.sort(key=lambda kind: kind is not Kind.LONG)
        for kind in real:
            kinds.insert(draw.randrange(len(kinds) // 2), kind)
        return [
            PlannedJob(
                tenant=draw.choice(TENANTS),
                request_id=f"{kind}-{self.seed}-{number:04d}",
                answer_is_lost=draw.random() < 0.12,
                is_cancelled=kind not in REAL_KINDS and draw.random() < 0.05,
            )
            for number, kind in enumerate(kinds)
        ]

    def planned_faults(self) -> list[tuple[float, Fault]]:
        """Seconds after the start, and what happens then. The answers that are lost are with the jobs."""
        draw = random.Random(f"faults of {self.seed}")
        # Each kind once at least, however short the run.
        kinds = [*_SHARES, *draw.choices(list(_SHARES), list(_SHARES.values()), k=self.faults - len(_SHARES))]
        draw.shuffle(kinds)
        times = sorted(draw.uniform(0.0, self.chaos_s) for _ in kinds)
        return list(zip(times, kinds, strict=True))

"""Does to the system what the plan says, when it says so."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from kdaif.queue import keys
from tests.chaos.log import FaultLog, Held
from tests.chaos.plan import TENANTS, Fault, Plan
from tests.chaos.world import Program, World

_AT_ONCE = 10
_TRIES = 40
_TRY_EVERY_S = 0.1


class Injector:
    """Runs the plan's faults in threads of its own, several at once."""

    def __init__(self, plan: Plan, world: World, log: FaultLog, stopping: threading.Event) -> None:
        self._plan = plan
        self._world = world
        self._log = log
        self._stopping = stopping
        self._lease_s = plan.lease_s
        self._valkey_disk = threading.Lock()
        self._blob_disk = threading.Lock()
        self._faults: dict[Fault, Callable[[random.Random], tuple[str, float] | None]] = {
            Fault.CHILD_KILLED: self._kill_child,
            Fault.CHILD_STOPPED: self._stop_child,
            Fault.SUPERVISOR_KILLED: self._kill_supervisor,
            Fault.SUPERVISOR_STOPPED: lambda draw: self._stop_worker(draw, child=False),
            Fault.WORKER_STOPPED: lambda draw: self._stop_worker(draw, child=True),
            Fault.WORKER_TOLD_TO_STOP: lambda draw: self._send(draw, self._world.workers, signal.SIGTERM),
            Fault.SERVER_KILLED: lambda draw: self._send(draw, self._world.servers, signal.SIGKILL),
            Fault.SERVER_STOPPED: self._stop_server,
            Fault.SERVER_TOLD_TO_STOP: lambda draw: self._send(draw, self._world.servers, signal.SIGTERM),
            Fault.VALKEY_KILLED: self._kill_valkey,
            Fault.VALKEY_STOPPED: self._stop_valkey,
            Fault.REDIS_DROPPED: lambda draw: self._break_redis(draw, "drop"),
            Fault.REDIS_STALLED: lambda draw: self._break_redis(draw, "stall"),
            Fault.REDIS_ANSWERS_LOST: lambda draw: self._break_redis(draw, "lose_answers"),
            Fault.CLIENTS_DROPPED: lambda draw: self._break_clients(draw, "drop"),
            Fault.CLIENTS_STALLED: lambda draw: self._break_clients(draw, "stall"),
            Fault.BLOBS_FULL: self._fill_blobs,
            Fault.VALKEY_FULL: self._fill_valkey,
        }

    def run(self) -> None:
        """Returns when every fault is over, or soon after ``stopping``."""
        started = time.monotonic()
        with ThreadPoolExecutor(_AT_ONCE, "faults") as pool:
            for number, (at_s, fault) in enumerate(self._plan.planned_faults()):
                if self._stopping.wait(max(0.0, started + at_s - time.monotonic())):
                    return
                pool.submit(self._inject, fault, random.Random(f"{self._plan.seed} fault {number}"))

    def _inject(self, fault: Fault, draw: random.Random) -> None:
        for _ in range(_TRIES):
            done = self._faults[fault](draw)
            if done is not None:
                self._log.add(fault, *done)
                return
            if self._stopping.wait(_TRY_EVERY_S):
                break
        self._log.miss(fault)

    def _past_the_lease(self, draw: random.Random) -> float:
        return draw.uniform(1.2, 2.0) * self._lease_s

    def _some_seconds(self, draw: random.Random) -> float:
        return draw.uniform(0.1, 1.4) * self._lease_s

    def _kill_child(self, draw: random.Random) -> tuple[str, float] | None:
        child = self._child(draw)
        return (str(child.pid), 0.0) if child and _signal(child.pid, signal.SIGKILL) else None

    def _stop_child(self, draw: random.Random) -> tuple[str, float] | None:
        child = self._child(draw)
        return self._stopped([child.pid], self._some_seconds(draw)) if child else None

    def _kill_supervisor(self, draw: random.Random) -> tuple[str, float] | None:
        worker = draw.choice(self._world.workers)
        if not worker.send(signal.SIGKILL):
            return None
        for held in self.leases_of(worker):
            self._log.deaths.append(held)
        return worker.name, 0.0

    def _stop_worker(self, draw: random.Random, *, child: bool) -> tuple[str, float] | None:
        worker = draw.choice(self._world.workers)
        pid = worker.pid
        if pid is None:
            return None
        children = [each.pid for each in worker.children()] if child else []
        return self._stopped([pid, *children], self._past_the_lease(draw))

    def _stop_server(self, draw: random.Random) -> tuple[str, float] | None:
        pid = draw.choice(self._world.servers).pid
        return self._stopped([pid], self._past_the_lease(draw)) if pid is not None else None

    def _kill_valkey(self, draw: random.Random) -> tuple[str, float] | None:
        return ("Valkey", 0.0) if _signal(self._world.valkey_pid, signal.SIGKILL) else None

    def _stop_valkey(self, draw: random.Random) -> tuple[str, float] | None:
        pid = self._world.valkey_pid
        return self._stopped([pid], self._some_seconds(draw)) if pid is not None else None

    def _break_redis(self, draw: random.Random, how: str) -> tuple[str, float] | None:
        program = draw.choice(self._world.programs)
        if not program.redis.connections:
            return None
        seconds = self._some_seconds(draw) / (4 if how == "lose_answers" else 1)
        return (program.name, seconds) if getattr(program.redis, how)(seconds) else None

    def _break_clients(self, draw: random.Random, how: str) -> tuple[str, float] | None:
        proxy = draw.choice(self._world.client_proxies)
        seconds = self._some_seconds(draw)
        return ("clients", seconds) if proxy.connections and getattr(proxy, how)(seconds) else None

    def _fill_blobs(self, draw: random.Random) -> tuple[str, float] | None:
        seconds = self._some_seconds(draw)
        with self._blob_disk:
            pids = [pid for program in self._world.programs if (pid := program.pid) is not None]
            self._world.blob_disk.fill(pids)
            try:
                self._stopping.wait(seconds)
            finally:
                self._world.blob_disk.free(pids)
        return "blobs", seconds

    def _fill_valkey(self, draw: random.Random) -> tuple[str, float] | None:
        seconds = self._some_seconds(draw)
        pid = self._world.valkey_pid
        if pid is None:
            return None
        with self._valkey_disk:
            self._world.valkey_disk.fill([pid])
            try:
                self._stopping.wait(seconds)
            finally:
                self._world.valkey_disk.free([pid])
        return "Valkey", seconds

    def _send(self, draw: random.Random, programs: list[Program], number: signal.Signals) -> tuple[str, float] | None:
        program = draw.choice(programs)
        return (program.name, 0.0) if program.send(number) else None

    def _child(self, draw: random.Random) -> psutil.Process | None:
        worker = draw.choice(self._world.workers)
        children = worker.children()
        return draw.choice(children) if children else None

    def _stopped(self, pids: list[int], seconds: float) -> tuple[str, float] | None:
        stopped = [pid for pid in pids if _signal(pid, signal.SIGSTOP)]
        if not stopped:
            return None
        try:
            self._stopping.wait(seconds)
        finally:
            for pid in stopped:
                _signal(pid, signal.SIGCONT)
        return str(stopped[0]), seconds

    def leases_of(self, worker: Program) -> list[Held]:
        """What a dead worker still holds in Redis; nothing where Redis is away too."""
        found = []
        with contextlib.suppress(Exception), self._world.redis() as redis:
            for tenant in TENANTS:
                leases: Any = redis.zrange(keys.leases(tenant), 0, -1, withscores=True)
                for job_id, expires in leases:
                    fields: Any = redis.hmget(keys.job(tenant, job_id), "worker", "attempt")
                    if fields[0] == worker.name:
                        found.append(Held(tenant, job_id, int(fields[1]), round(expires)))
        return found


def _signal(pid: int | None, number: signal.Signals) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True

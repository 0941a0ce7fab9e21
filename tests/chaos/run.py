"""One run: a world, its users, its faults; then calm, probes, and the check of what is left."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kdaif_client import Client
from kdaif_client import Job as JobHandle
from kdaif_server.embedded.valkey import EmbeddedValkey
from redis.exceptions import RedisError

from kdaif.errors import FailedPreconditionError
from kdaif.queue import JobQueue, keys
from kdaif.records import (
    TERMINAL_STATES,
    DistillationSpec,
    Job,
    JobResult,
    JobState,
    PreflightReport,
    Scheduling,
    WorkerOffer,
)
from tests.chaos.clients import Acknowledged, Users, as_seen
from tests.chaos.faults import Injector
from tests.chaos.history import JobHistory, missing_uploads, read_histories, weights_of, with_other_weights
from tests.chaos.invariants import violations
from tests.chaos.leftovers import keys_of_jobs, keys_under_way, redis_bytes, shard_files
from tests.chaos.log import FaultLog, Held
from tests.chaos.outcome import Outcome, Restart
from tests.chaos.plan import TENANTS, Fault, Plan, PlannedJob
from tests.chaos.proxy import Network
from tests.chaos.stand_in import Kind, kind_of
from tests.chaos.world import World

_KEEP_EVERY_S = 0.05
T = TypeVar("T")
_READY_S = 60.0
_PROBE_S = 30.0
_ARCHIVE_S = 60.0
_UNHARMED_S = 120.0


def run(plan: Plan, tell: Callable[[str], None], *, logs: Path | None = None) -> Outcome:
    """Takes ``chaos_s``, and at most ``settle_s`` for the end of the jobs; call it from the main thread."""
    with tempfile.TemporaryDirectory(prefix="kdaif-chaos-") as folder, Network() as network:
        world = World(plan, Path(folder), uuid.uuid4().hex, network)
        try:
            return _Run(plan, world, tell).outcome()
        finally:
            world.stop()
            if logs is not None:
                world.keep_logs(logs / f"seed-{plan.seed}")
            world.close()


class _Run:
    def __init__(self, plan: Plan, world: World, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._world = world
        self._tell = tell
        self._log = FaultLog()
        self._acknowledged = Acknowledged()
        self._chaos_is_over = threading.Event()
        self._users_stop = threading.Event()
        self._broken = self._acknowledged.broken
        self._unharmed: dict[int, bytes] | None = None

    def outcome(self) -> Outcome:
        plan, world = self._plan, self._world
        started = time.monotonic()
        world.start()
        users = self._users = Users(plan, world.client_proxies, self._acknowledged, self._log, self._users_stop)
        self._keeping(users.prepare, _READY_S, "the data were not uploaded")
        self._warm_up()
        memory_before = redis_bytes(self._world)
        self._tell(f"seed {plan.seed}: up after {time.monotonic() - started:.1f} s, chaos for {plan.chaos_s:g} s")
        self._log.add(Fault.CLOCK_OFF, world.workers[0].name, 0.0)
        injector = Injector(plan, world, self._log, self._chaos_is_over)
        users.start()
        self._keeping(injector.run, plan.chaos_s + 30, "the faults did not end", stop=self._chaos_is_over)
        self._calm()
        self._tell(f"seed {plan.seed}: {len(self._log.injected)} faults, waiting for the jobs")
        self._keeping(lambda: self._settle(users), plan.settle_s, "jobs did not end", stop=self._users_stop)
        self._users_stop.set()
        users.join(20)
        restarts = self._probes(injector) if self._all_ended() else []
        if plan.real_sharded_jobs and self._all_ended():
            self._unharmed = self._train_unharmed()
        memory_after = redis_bytes(self._world)
        self._tell(f"seed {plan.seed}: checking")
        found: list[JobHistory] = []
        self._keeping(lambda: found.extend(self._histories()), 120, "the histories could not be read")
        missing = missing_uploads(self._acknowledged.uploads, world.blobs)
        left_keys, left_shards = keys_under_way(world), self._left_shards()
        not_restored = self._not_restored(found)
        emptied = self._emptied(found)
        left_keys += keys_of_jobs(world)
        world.stop()
        faults = violations(list(self._acknowledged.jobs.values()), found)
        histories = {history.job.id: history for history in found}
        succeeded = [history for history in found if history.job.state is JobState.SUCCEEDED]
        kinds = Counter(kind_of(history.job.display_name) for history in succeeded)
        return Outcome(
            plan=plan,
            seconds=time.monotonic() - started,
            jobs=len(self._acknowledged.jobs),
            real_jobs=kinds[Kind.REAL] + kinds[Kind.REAL_SHARDED],
            sharded_jobs=kinds[Kind.SHARDED] + kinds[Kind.REAL_SHARDED],
            shards_taken=world.shards_taken(),
            shards_tried_again=sum(history.shards_tried_again for history in found),
            states=dict(Counter(str(history.job.state) for history in found)),
            attempts=sum(history.job.attempt for history in found),
            uploads=len(self._acknowledged.uploads),
            faults=self._log.counts(),
            missed_faults=len(self._log.missed),
            answers_lost_of_queued_jobs=self._acknowledged.lost_answers_of_queued_jobs,
            violations=faults,
            histories={v.job_id: histories[v.job_id] for v in faults if v.job_id in histories},
            missing_uploads=missing,
            left_processes=world.left_processes(),
            left_keys=left_keys,
            left_shards=left_shards,
            not_restored=not_restored,
            broken=self._broken,
            restarts_in_leases=restarts,
            restarts_under_faults=self._restarts_of(self._log.deaths, histories),
            memory_before=memory_before,
            memory_after=memory_after,
            memory_emptied=emptied,
            starts={"Valkey": world.valkey_starts} | {p.name: p.starts for p in world.programs},
            disk=world.blob_disk.how,
        )

    def _keeping(
        self, work: Callable[[], None], limit_s: float, what: str, *, stop: threading.Event | None = None
    ) -> None:
        """Does ``work`` in a thread while this one starts again what ended."""
        errors: list[BaseException] = []

        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        deadline = time.monotonic() + limit_s
        while thread.is_alive():
            self._world.keep()
            thread.join(_KEEP_EVERY_S)
            if time.monotonic() > deadline:
                self._broken.append(f"{what} within {limit_s:g} s")
                if stop is not None:
                    stop.set()
                    thread.join(30)
                break
        if errors:
            raise errors[0]

    def _calm(self) -> None:
        self._chaos_is_over.set()
        for program in self._world.programs:
            program.send(signal.SIGCONT)

    def _settle(self, users: Users) -> None:
        """Until every job that was acknowledged, and every other, has ended."""
        while not users.submitted_all():
            if self._users_stop.wait(_KEEP_EVERY_S):
                return
        while not self._users_stop.wait(0.5):
            if self._all_ended():
                return

    def _all_ended(self) -> bool:
        terminal = {str(state) for state in TERMINAL_STATES}
        try:
            with self._world.redis() as redis:
                for tenant in TENANTS:
                    ids: Any = redis.zrange(keys.jobs(tenant), 0, -1)
                    if any(redis.hget(keys.job(tenant, job_id), "state") not in terminal for job_id in ids):
                        return False
        except (RedisError, OSError):  # Valkey is on its way back
            return False
        return True

    def _probes(self, injector: Injector) -> list[float]:
        """In the calm after the chaos: how long after its expiry the job of a dead worker starts again, in leases."""
        found = []
        for number in range(self._plan.probes):
            try:
                found.append(self._probe(number, injector))
            except TimeoutError as error:
                self._broken.append(str(error))
        return found

    def _probe(self, number: int, injector: Injector) -> float:
        world, tenant = self._world, TENANTS[number % len(TENANTS)]
        job = self._submitted(PlannedJob(tenant, f"{Kind.LONG}-probe-{self._plan.seed}-{number}", False, False))
        holder = self._until(lambda: next((w for w in world.workers if w.children()), None), "a probe was not started")
        stopped = number % 2 == 1
        holder.send(signal.SIGSTOP if stopped else signal.SIGKILL)
        held: list[Held] = self._until(lambda: injector.leases_of(holder), "a probe's lease was not found")
        expires_ms = max(each.expires_ms for each in held)

        def restarted() -> float | None:
            with world.redis() as redis:
                events: Any = redis.xrange(keys.events(tenant, job.name.rpartition("/")[2]))
                for _, fields in events:
                    if fields["kind"] == "claimed" and int(fields["attempt"]) > held[0].attempt:
                        return (int(fields["time_ms"]) - expires_ms) / 1000 / self._plan.lease_s
            return None

        leases = self._until(restarted, "a probe was not started again")
        holder.send(signal.SIGCONT)
        with Client(f"127.0.0.1:{world.client_proxies[0].port}", tenant) as client:
            client.get_job(job.name).cancel()
        self._until(lambda: self._all_ended() or None, "a probe was not cancelled")
        return leases

    def _train_unharmed(self) -> dict[int, bytes] | None:
        """The weights of the real jobs whose scorings were cut, of one that is not cut and that nothing happens to."""
        try:
            job = self._submitted(PlannedJob(TENANTS[0], f"{Kind.REAL_WHOLE}-{self._plan.seed}", False, False))
        except TimeoutError as error:
            self._broken.append(str(error))
            return None

        def until_ended() -> None:
            while not self._all_ended():
                time.sleep(_KEEP_EVERY_S)

        self._keeping(until_ended, _UNHARMED_S, "the job without harm did not end")

        async def read() -> dict[int, bytes]:
            queue = await JobQueue.connect(self._world.valkey.url)
            try:
                return weights_of(await queue.get(TENANTS[0], job.name.rpartition("/")[2]), self._world.blobs)
            finally:
                await queue.close()

        return asyncio.run(read())

    def _submitted(self, planned: PlannedJob) -> JobHandle:
        """In the calm. Raises TimeoutError."""
        self._users_stop.clear()
        made: list[JobHandle | None] = []
        what = f"{planned.request_id} was not submitted"
        self._keeping(
            lambda: made.append(self._users.submit(planned, self._world.client_proxies[0])),
            _PROBE_S,
            what,
            stop=self._users_stop,
        )
        job = made[0] if made else None
        if job is None:
            raise TimeoutError(what)
        return job

    def _until(self, condition: Callable[[], T | None], what: str) -> T:
        deadline = time.monotonic() + _PROBE_S
        while True:
            self._world.keep()
            value = condition()
            if value is not None and value != []:
                return value
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            time.sleep(_KEEP_EVERY_S)

    def _restarts_of(self, deaths: Sequence[Held], histories: dict[str, JobHistory]) -> list[Restart]:
        """The same under faults: of each killed supervisor's job, whatever else was broken meanwhile."""
        found = []
        for held in deaths:
            history = histories.get(held.job_id)
            events = history.events if history is not None else ()
            back = next((e for e in events if e.kind == "requeued" and e.attempt == held.attempt), None)
            again = next((e for e in events if e.kind == "claimed" and e.attempt > held.attempt), None)
            if back is not None and again is not None:
                lease_ms = 1000 * self._plan.lease_s
                found.append(
                    Restart((back.time_ms - held.expires_ms) / lease_ms, (again.time_ms - back.time_ms) / lease_ms)
                )
        return found

    def _histories(self) -> list[JobHistory]:
        async def read() -> list[JobHistory]:
            queue = await JobQueue.connect(self._world.valkey.url)
            try:
                return await read_histories(queue, self._world.blobs, TENANTS)
            finally:
                await queue.close()

        found = asyncio.run(read())
        target = f"127.0.0.1:{self._world.client_proxies[0].port}"
        with contextlib.ExitStack() as stack:
            clients = {tenant: stack.enter_context(Client(target, tenant)) for tenant in TENANTS}
            seen = [as_seen(history, clients[history.job.tenant]) for history in found]
        return [with_other_weights(history, self._world.blobs, self._unharmed) for history in seen]

    def _warm_up(self) -> None:
        """One job of our own through the queue and out again: the first one makes Valkey start its Lua engine."""

        async def pass_through() -> None:
            queue = await JobQueue.connect(self._world.valkey.url)
            label = "nobody-else"
            spec = DistillationSpec(labeled="0" * 32, unlabeled="1" * 32, scheduling=Scheduling(worker_labels=(label,)))
            try:
                job = await queue.submit(TENANTS[0], spec, PreflightReport(), request_id="warm-up")
                claim = await queue.claim(WorkerOffer(label, labels=frozenset({label})))
                if claim is None:
                    raise AssertionError("the job was there to be claimed")
                await queue.succeed(claim, JobResult(claim.token, (), "", 0.0))
                await queue.delete(job.tenant, job.id)
            finally:
                await queue.close()

        asyncio.run(pass_through())

    def _left_shards(self) -> list[str]:
        """Once the servers have had their time to remove them."""

        def until_removed() -> None:
            while shard_files(self._world):
                time.sleep(_KEEP_EVERY_S)

        self._keeping(until_removed, _ARCHIVE_S, "the files of shards were not all removed")
        return shard_files(self._world)

    def _not_restored(self, histories: Sequence[JobHistory]) -> list[str]:
        """Jobs that ``kdaif-server rebuild-index`` does not bring back, as they were, into an empty Valkey."""
        world = self._world
        self._keeping(self._until_archived, _ARCHIVE_S, "the jobs were not all archived")
        with EmbeddedValkey(world.folder / "second-valkey") as second:
            said = world.rebuild_index(second.url)
            restored = {job.id: job for job in asyncio.run(_all_jobs(second.url))}
        if said:
            self._broken.append(f"rebuild-index: {said}")
        wrong = []
        for history in histories:
            job, again = history.job, restored.get(history.job.id)
            if again is None or (again.state, again.attempt, again.result) != (job.state, job.attempt, job.result):
                wrong.append(f"{job.id} is {job.state} at attempt {job.attempt}, and came back as {again}")
        return wrong

    def _until_archived(self) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError), self._world.redis() as redis:
                if not any(redis.exists(keys.unsaved(tenant)) for tenant in TENANTS):
                    return
            time.sleep(_KEEP_EVERY_S)

    def _emptied(self, histories: Sequence[JobHistory]) -> int:
        """Bytes of Redis once all jobs are deleted, and their blobs with them."""

        async def delete() -> None:
            queue = await JobQueue.connect(self._world.valkey.url)
            try:
                for history in histories:
                    with contextlib.suppress(FailedPreconditionError):  # it never ended, which is told elsewhere
                        await queue.delete(history.job.tenant, history.job.id)
            finally:
                await queue.close()

        asyncio.run(delete())

        def until_erased() -> None:
            blobs = self._world.blobs
            while any(blobs.list(f"tenants/{tenant}/jobs", limit=1) for tenant in TENANTS):
                time.sleep(_KEEP_EVERY_S)

        self._keeping(until_erased, _ARCHIVE_S, "the blobs of deleted jobs were not removed")
        return redis_bytes(self._world)


async def _all_jobs(url: str) -> list[Job]:
    queue = await JobQueue.connect(url)
    try:
        return [history.job for history in await read_histories(queue, None, TENANTS)]
    finally:
        await queue.close()

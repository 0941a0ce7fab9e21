"""A fleet of devices that roll a canary out, through the service itself: its store, a real Valkey, and no network.

Every device asks what to run, does so, and now and then learns whether it was right; gateways report for their devices.
The server promotes the canary or rolls it back by itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from kdaif_proto.v1 import students_pb2 as pb
from kdaif_server.artifacts import Artifacts
from kdaif_server.services.students import StudentService
from kdaif_server.signing import SigningKey
from numpy.typing import NDArray

from kdaif.errors import FailedPreconditionError
from kdaif.queue import JobQueue
from kdaif.records import DistillationSpec, JobResult, PreflightReport, WorkerOffer
from kdaif.store import BlobStore

_PARENT = "tenants/default"
_ACCURACY = 0.80
_DIFFERENCE = 0.05
_SHARES = (0.05, 0.10)  # of the first day, and from the second on
_GATEWAY_DEVICES = 500
_DAYS = 60
_ASKS_AGAIN = 0.02  # of the devices, every day
_TRIALS_AT_ONCE = 4


@dataclass(frozen=True)
class Trial:
    """How one rollout went.

    Attributes:
        right: the better student is the champion at the end.
        days: until the server had decided, or all there were.
        share_error: how far the share of devices that got the canary was from what was asked for, on the first day.
        moved: devices that were told something else than before, though they should not have been.
    """

    right: bool
    days: int
    share_error: float
    moved: int


async def simulate(redis_url: str, folder: Path, *, devices: int, trials: int) -> list[Trial]:
    """Rollouts of which in every second one the canary is the better student, otherwise the worse.

    Args:
        redis_url: of an empty server.
        folder: for the blob store.
        devices: of the fleet.
        trials: rollouts, each in a line of its own.
    """
    queue = await JobQueue.connect(redis_url)
    try:
        blobs = BlobStore.open(f"file://{folder / 'blobs'}")
        service = StudentService(queue, Artifacts(queue, blobs, folder / "cache"), SigningKey.at(folder / "key.pem"))
        champion, canary = [await _student(queue) for _ in range(2)]
        turn = asyncio.Semaphore(_TRIALS_AT_ONCE)

        async def one(number: int) -> Trial:
            async with turn:
                return await _Rollout(service, number, devices, champion, canary).run()

        return list(await asyncio.gather(*(one(number) for number in range(trials))))
    finally:
        await queue.close()


def figures(trials: list[Trial]) -> dict[str, float]:
    """The figures of `edge.json`; an error of the share is in points of per cent."""
    errors = [100 * trial.share_error for trial in trials]
    return {
        "rollout_correct_share": float(np.mean([trial.right for trial in trials])),
        "share_error_points": float(np.max(errors)),
        "share_error_points_mean": float(np.mean(errors)),
        "rollout_days_mean": float(np.mean([trial.days for trial in trials])),
        "rollout_devices_moved": float(sum(trial.moved for trial in trials)),
    }


class _Rollout:
    def __init__(self, service: StudentService, number: int, devices: int, champion: str, canary: str) -> None:
        self._service = service
        self._line = f"trial-{number}"
        self._names = [f"cam-{device}" for device in range(devices)]
        self._champion = champion
        self._canary = canary
        self._canary_is_better = number % 2 == 0
        self._generator = np.random.default_rng(number)

    async def run(self) -> Trial:
        """One rollout from its first champion to the verdict."""
        await self._set(pb.ALIAS_CHAMPION, self._champion)
        line = await self._set(pb.ALIAS_CANARY, self._canary, _SHARES[0])
        gets = await self._ask_all()
        share_error = abs(float(gets.mean()) - _SHARES[0])
        moved, day, ended = 0, 1, False
        while not ended and day <= _DAYS:
            if day == 2:
                await self._set(pb.ALIAS_CANARY, self._canary, _SHARES[1])
                before, gets = gets, await self._ask_all()
                moved += int((before & ~gets).sum())
            asked: list[int] = np.flatnonzero(self._generator.random(len(gets)) < _ASKS_AGAIN).tolist()
            moved += sum([await self._gets_canary(device) != bool(gets[device]) for device in asked])
            ended = await self._report_day(line.canary.rollout, gets, day)
            day += not ended
        answer = await self._service.GetAliases(pb.GetAliasesRequest(parent=_PARENT, line=self._line), None)
        better = self._canary if self._canary_is_better else self._champion
        won = bool(answer.line.champion == better and not answer.line.HasField("canary"))
        return Trial(won, day, share_error, moved)

    async def _set(self, alias: pb.Alias.ValueType, student: str, share: float = 0.0) -> pb.Line:
        request = pb.SetAliasRequest(
            parent=_PARENT,
            line=self._line,
            alias=alias,
            student=student,
            share=share,
            automatic=alias == pb.ALIAS_CANARY,
            author="simulation",
            gate=pb.Gate(force=True),  # these students were never tested
        )
        return (await self._service.SetAlias(request, None)).line

    async def _ask_all(self) -> NDArray[np.bool_]:
        return np.array([await self._gets_canary(device) for device in range(len(self._names))], dtype=np.bool_)

    async def _gets_canary(self, device: int) -> bool:
        request = pb.ResolveAliasRequest(parent=_PARENT, line=self._line, device_key=self._names[device])
        answer = await self._service.ResolveAlias(request, None)
        if answer.is_canary != (answer.student == self._canary):
            raise AssertionError(f"{self._names[device]} is told a student that does not fit its group")
        return bool(answer.is_canary)

    async def _report_day(self, rollout: str, gets: NDArray[np.bool_], day: int) -> bool:
        """One outcome of every device; answers whether the rollout is over."""
        accuracy = np.where(gets, _ACCURACY + (_DIFFERENCE if self._canary_is_better else -_DIFFERENCE), _ACCURACY)
        right = self._generator.random(len(gets)) < accuracy
        reports = []
        for start in range(0, len(gets), _GATEWAY_DEVICES):
            own = slice(start, start + _GATEWAY_DEVICES)
            for student, chosen in ((self._champion, ~gets[own]), (self._canary, gets[own])):
                if chosen.any():
                    request_id = f"day-{day}-gateway-{start}-{student.rsplit('/', 1)[-1]}"
                    reports.append(self._report(rollout, student, right[own][chosen], request_id))
        return not all(await asyncio.gather(*reports))

    async def _report(self, rollout: str, student: str, right: NDArray[np.bool_], request_id: str) -> bool:
        request = pb.ReportOutcomesRequest(
            parent=_PARENT,
            line=self._line,
            rollout=rollout,
            student=student,
            request_id=request_id,
            predictions=len(right),
            right=int(right.sum()),
            total=len(right),
        )
        try:
            answer = await self._service.ReportOutcomes(request, None)
        except FailedPreconditionError:
            return False  # another gateway's report decided
        return bool(answer.rollout.is_going_on)


async def _student(queue: JobQueue) -> str:
    spec = DistillationSpec(labeled="0" * 32, unlabeled="1" * 32)
    await queue.submit("default", spec, PreflightReport(), request_id="")
    claim = await queue.claim(WorkerOffer("simulation"))
    if claim is None:
        raise AssertionError("the only job is there to claim")
    await queue.succeed(claim, JobResult(attempt=claim.token, arms=(), verdict="", seconds=0.0))
    return f"{_PARENT}/students/{claim.job.id}"

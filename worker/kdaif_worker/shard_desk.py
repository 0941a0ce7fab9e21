"""The supervisor's part in a scoring of shards: it alone speaks to the queue, and tells the child what is next."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import structlog

from kdaif.errors import FailureReason, UnavailableError
from kdaif.queue import Claim, JobQueue, Standing
from kdaif.records import Failure, Shard
from kdaif_worker.child_process import Child
from kdaif_worker.messages import FailedMessage, ShardDoneMessage, ShardsMessage
from kdaif_worker.release import RELEASE

_LOOK_S = 0.25
_OUTAGE_S = 1.0
# An event is kept as long as its job, and a scoring may have a thousand shards.
_TELL_S = 1.0
_MOST_NAMED = 8
_log = structlog.get_logger("kdaif.worker")


class ShardDesk:
    """Answers one child.

    Args:
        queue: of the job.
        claim: of the attempt.
        worker: its name.
        tell: publishes how far a scoring is.
    """

    def __init__(self, queue: JobQueue, claim: Claim, worker: str, tell: Callable[[str], Awaitable[None]]) -> None:
        self._queue = queue
        self._claim = claim
        self._worker = worker
        self._tell = tell
        self._told, self._told_at_s = "", -math.inf
        self._submitted: tuple[Shard, ...] = ()
        self._cuts = 0

    async def answer(self, message: ShardsMessage | ShardDoneMessage, child: Child) -> FailedMessage | None:
        """Returns once the child was told a shard or that all are scored, or is gone; or that the attempt has failed.

        While others have all that are left, it waits: for their scores, or for their leases to run out.

        Raises:
            FencedError: the job was given to another attempt.
        """
        scored = message.shard if isinstance(message, ShardDoneMessage) else None
        new = message.shards if isinstance(message, ShardsMessage) else ()
        self._cuts += bool(new)
        while child.is_running:
            try:
                if new:
                    await self._queue.shards.submit(self._claim, new, cut=self._cuts, release=RELEASE)
                    self._submitted, new = new, ()
                standing = await self._queue.shards.work(self._claim, self._worker, scored)
            except UnavailableError as error:
                _log.warning("shards wait for the queue", job=self._claim.job.id, error=str(error))
                await asyncio.sleep(_OUTAGE_S)
                continue
            scored = None
            await self._publish(standing)
            if standing.failed is not None:
                return FailedMessage(_failure(*standing.failed))
            if standing.to_score is not None or standing.is_over:
                await child.tell(standing.to_score)
                return None
            await asyncio.sleep(_LOOK_S)
        return None

    async def _publish(self, standing: Standing) -> None:
        if not standing.total:
            return  # asked again when all were over
        total = self._submitted[0].total if self._submitted else standing.total
        scored = total - standing.total + standing.scored
        told = f"influence: {scored} of {total} shards{tried_again(standing)}"
        now_s = time.monotonic()
        if told != self._told and (standing.is_over or now_s - self._told_at_s >= _TELL_S):
            self._told, self._told_at_s = told, now_s
            await self._tell(told)


def tried_again(standing: Standing) -> str:
    """What to tell of shards that took several attempts, behind the number of those that are scored."""
    named, others = standing.tried_again[:_MOST_NAMED], len(standing.tried_again[_MOST_NAMED:])
    told = [f"shard {shard.number} took {attempts} attempts" for shard, attempts in named]
    told += [f"{others} more took several"] if others else []
    return f"; {', '.join(told)}" if told else ""


def _failure(shard: Shard, why: Failure) -> Failure:
    # A store that was full or away is no fault of the rows; and another attempt puts what was lost there again.
    is_of_the_store = why.reason is FailureReason.STORAGE
    return Failure(why.reason, f"No scores of {shard}: {why.message}", retryable=is_of_the_store, log_tail=why.log_tail)

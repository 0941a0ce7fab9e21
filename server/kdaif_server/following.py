"""Following a job: what happened, then what happens, until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from kdaif.errors import UnavailableError
from kdaif.queue import JobQueue
from kdaif.records import TERMINAL_STATES, JobEvent

_WAIT_EVENTS_S = 6.0


async def follow(
    queue: JobQueue, tenant: str, job_id: str, after: int, stopping: asyncio.Event
) -> AsyncIterator[JobEvent]:
    """Events after the sequence number ``after``, old ones first, until the job is terminal.

    Raises:
        NotFoundError: no such job, before the first event.
        UnavailableError: the server is shutting down.
    """
    events = await queue.events(tenant, job_id, after_sequence=after)
    while True:
        for event in events:
            yield event
            after = event.sequence
        # A job that has just moved on is waited for at once; any other is looked at first.
        if not events or events[-1].state in TERMINAL_STATES:
            is_over = (await queue.get(tenant, job_id)).state in TERMINAL_STATES
            if is_over:
                # An event written between the two looks would else be lost.
                events = await queue.events(tenant, job_id, after_sequence=after)
                if not events:
                    return
                continue
        events = await _wait(queue, tenant, job_id, after, stopping)


async def _wait(queue: JobQueue, tenant: str, job_id: str, after: int, stopping: asyncio.Event) -> list[JobEvent]:
    waiting = asyncio.ensure_future(
        queue.wait_events(tenant, job_id, after_sequence=after, timeout_s=_WAIT_EVENTS_S, is_there=True)
    )
    asked = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({waiting, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise UnavailableError("The server is shutting down. Watch again with after_sequence set.")
        return waiting.result()
    finally:
        asked.cancel()
        waiting.cancel()

"""The child that has scored a shard stays for the next shard of the same job: to start one takes seconds."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from kdaif_worker.child_process import Child
from kdaif_worker.messages import Assignment
from kdaif_worker.settings import WorkerSettings


class KeptChild:
    """Gives each attempt its child, a new one or the one that stayed.

    Args:
        settings: of the worker.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._child: Child | None = None
        self._of: Assignment | None = None
        self._ending = contextlib.AsyncExitStack()

    @contextlib.asynccontextmanager
    async def working_on(self, assignment: Assignment) -> AsyncIterator[Child]:
        """A child that was handed the assignment. On leaving it is gone, unless it scored a shard and lives."""
        if self._child is not None and self._child.is_running and _is_another_shard(self._of, assignment):
            child = self._child
            await child.hand_over(assignment)
        else:
            await self.let_go()
            child = await self._ending.enter_async_context(Child.started(assignment, self._settings))
        self._child, self._of = child, assignment
        try:
            yield child
        finally:
            if assignment.shard is None or not child.is_running:
                await self.let_go()

    async def let_go(self) -> None:
        """Ends the child that stayed, if any."""
        ending, self._ending = self._ending, contextlib.AsyncExitStack()
        self._child, self._of = None, None
        await ending.aclose()


def _is_another_shard(former: Assignment | None, assignment: Assignment) -> bool:
    """Never one of another job: a process holds what one job is made of."""
    if former is None or former.shard is None or assignment.shard is None:
        return False
    return (former.tenant, former.job_id) == (assignment.tenant, assignment.job_id)

import asyncio
import contextlib

from kdaif_worker.supervisor import _end_all


def test_tasks_end_though_a_library_swallows_the_first_cancellation() -> None:
    async def swallow_one() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def run() -> None:
        tasks = {asyncio.create_task(swallow_one()), asyncio.create_task(asyncio.sleep(60))}
        await asyncio.sleep(0)
        await asyncio.wait_for(_end_all(tasks), 5)
        assert all(task.done() for task in tasks)

    asyncio.run(run())

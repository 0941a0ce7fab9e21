"""Ends and takes away what went on for too long."""

from __future__ import annotations

from kdaif.queue import codec, connection, endings, keys
from kdaif.queue.scripts import Scripts
from kdaif.queue.tenants import Tenants
from kdaif.queue.transitions import Backoff, run
from kdaif.records import Job


class Reaper:
    """Looks at the leases and deadlines of every tenant that may have some. Its method is that of `JobQueue`."""

    def __init__(self, url: str, scripts: Scripts, tenants: Tenants, lease_ms: int, backoff: Backoff) -> None:
        self._url = url
        self._scripts = scripts
        self._tenants = tenants
        self._lease_ms = lease_ms
        self._backoff = backoff

    async def reap(self) -> list[Job]:
        """Ends jobs whose deadline passed (FAILED), and takes jobs away from workers that let their lease run out.

        The latter become QUEUED, DEAD or CANCELLED. Returns all these jobs. Call it several times per lease, from any
        number of processes. When nobody called it for longer than a lease, the server was away and workers could not
        renew: that call extends every lease once instead.
        """
        reaped: list[Job] = []
        with connection.translated(self._url, "look for expired leases"):
            await self._tenants.tidy()
            for tenant in await self._tenants.busy():
                tenant_keys = [keys.leases(tenant), keys.extended(tenant), keys.reaped(tenant), keys.deadlines(tenant)]
                expired, overdue = await self._scripts.expired(tenant_keys, [str(self._lease_ms)])
                for job_id in overdue:
                    answer = await run(self._url, self._scripts.expire, "end", tenant, job_id, endings.OVERDUE)
                    if answer[0] == "OK":
                        reaped.append(codec.job_from(tenant, job_id, codec.answered(*answer[1:])))
                for job_id in expired:
                    texts = (
                        endings.LOST,
                        *self._backoff.arguments(),
                        endings.cancelled("while it ran; its worker is gone"),
                    )
                    answer = await run(self._url, self._scripts.reap, "reap", tenant, job_id, *texts)
                    if answer[0] == "OK":
                        reaped.append(codec.job_from(tenant, job_id, codec.answered(*answer[1:])))
        return reaped

"""The answers about jobs that are asked for again and again and have not changed."""

from __future__ import annotations

from collections import OrderedDict

from kdaif_proto.v1 import jobs_pb2

from kdaif.records import Job
from kdaif_server._convert import job_to_proto

_MOST_REMEMBERED = 1024


class JobMessages:
    """Remembers the answer for a ``Job`` that the queue gave; one that has changed is another ``Job``."""

    def __init__(self) -> None:
        self._remembered: OrderedDict[tuple[str, str], tuple[Job, jobs_pb2.GetDistillationJobResponse]] = OrderedDict()

    def of(self, job: Job) -> jobs_pb2.GetDistillationJobResponse:
        """Send it, or copy it; do not change it."""
        name = (job.tenant, job.id)
        known = self._remembered.get(name)
        if known is not None and known[0] is job:
            self._remembered.move_to_end(name)
            return known[1]
        message = jobs_pb2.GetDistillationJobResponse(job=job_to_proto(job))
        # In the place of what the job was before: else a few jobs that move would fill all places.
        self._remembered[name] = (job, message)
        self._remembered.move_to_end(name)
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return message

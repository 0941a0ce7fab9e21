"""The messages of jobs that are asked for again and again and have not changed."""

from __future__ import annotations

from collections import OrderedDict

from kdaif_proto.v1 import jobs_pb2

from kdaif.records import Job
from kdaif_server._convert import job_to_proto

_MOST_REMEMBERED = 1024


class JobMessages:
    """Remembers the message of a ``Job`` that the queue gave; one that has changed is another ``Job``."""

    def __init__(self) -> None:
        # The job is kept, so that its id stays its own.
        self._remembered: OrderedDict[int, tuple[Job, jobs_pb2.DistillationJob]] = OrderedDict()

    def of(self, job: Job) -> jobs_pb2.DistillationJob:
        """Read it, or copy it; do not change it."""
        known = self._remembered.get(id(job))
        if known is not None:
            self._remembered.move_to_end(id(job))
            return known[1]
        message = job_to_proto(job)
        self._remembered[id(job)] = (job, message)
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return message

"""Alarms of a job: told as they come, and where the job asks for it a reason to stop for a person."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from kdaif.records import DistillationSpec, Progress
from kdaif.records.monitoring import Alarm
from kdaif_worker.attempt_files import AttemptFiles
from kdaif_worker.checkpoint import Checkpoint
from kdaif_worker.messages import ProgressMessage


class ReviewNeededError(Exception):
    """A person has to look. The checkpoint that the job goes on from is written."""


def raised(
    point: Checkpoint,
    alarms: Iterable[Alarm],
    spec: DistillationSpec,
    progress: Progress,
    files: AttemptFiles,
    emit: Callable[[ProgressMessage], None],
    class_names: tuple[str, ...],
) -> Checkpoint:
    """The checkpoint with these alarms, each told once as a warning.

    Raises:
        UnavailableError: the store does not take what a person needs to decide.
        ReviewNeededError: the job pauses on alarms, and one of these is new; a resumed job is not stopped for it again.
    """
    known = {alarm.key: alarm for alarm in point.alarms}
    fresh = [alarm for alarm in alarms if alarm.key not in known]
    point = dataclasses.replace(point, alarms=tuple((known | {alarm.key: alarm for alarm in alarms}).values()))
    for alarm in fresh:
        told = dataclasses.replace(progress, message=f"{alarm.code}: {alarm.message}")
        emit(ProgressMessage(told, warning=True))
    unseen = [alarm for alarm in point.alarms if alarm.key not in point.reviewed]
    if spec.monitoring.on_alarm != "pause" or not unseen:
        return point
    point = dataclasses.replace(point, reviewed=point.reviewed | {alarm.key for alarm in unseen})
    files.save(point, progress)
    files.publish_review(point, class_names)
    raise ReviewNeededError(" ".join(f"{alarm.code}: {alarm.message}." for alarm in unseen))

"""From the messages of lines and rollouts to the types of the SDK."""

from __future__ import annotations

from kdaif_proto.v1 import students_pb2 as pb

from kdaif_client._convert import time_of
from kdaif_client._fields import enum_name
from kdaif_client.rollout_types import Canary, LineInfo, LineRevision, Outcomes, Resolved, Rollout


def line(message: pb.Line, gate: str = "") -> LineInfo:
    """A line as it is."""
    canary = message.canary
    return LineInfo(
        name=message.name,
        revision=message.revision,
        champion=message.champion,
        former_champions=tuple(message.former_champions),
        canary=Canary(canary.student, canary.share, canary.rollout, canary.automatic, canary.forced)
        if message.HasField("canary")
        else None,
        update_time=time_of(message, "update_time"),
        gate=gate,
    )


def revision(message: pb.LineRevision) -> LineRevision:
    """One change."""
    return LineRevision(
        revision=message.revision,
        action=enum_name(message, "action"),
        student=message.student,
        author=message.author,
        reason=message.reason,
        time=time_of(message, "time"),
        automatic=message.automatic,
        forced=message.forced,
        gate=message.gate,
        line=line(message.line, message.gate),
    )


def resolved(message: pb.ResolveAliasResponse) -> Resolved:
    """What a device should run."""
    return Resolved(message.student, message.is_canary, message.revision, message.rollout)


def rollout(message: pb.Rollout) -> Rollout:
    """Counts and verdict."""
    return Rollout(
        rollout=message.rollout,
        champion=_outcomes(message.champion),
        canary=_outcomes(message.canary),
        decision=enum_name(message, "decision"),
        low=message.low,
        high=message.high,
        is_going_on=message.is_going_on,
    )


def _outcomes(message: pb.Outcomes) -> Outcomes:
    return Outcomes(message.student, message.predictions, message.right, message.total)

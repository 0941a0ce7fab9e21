"""Between the messages of lines and rollouts and their records."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from kdaif_proto.v1 import students_pb2 as pb

from kdaif.errors import InvalidInputError
from kdaif.records.lines import LineRevision
from kdaif.rollout import MARGIN
from kdaif_server.gate import GateTerms
from kdaif_server.names import line_name, student_name
from kdaif_server.rollouts import Arm, Rollout


def terms_from(message: pb.Gate) -> GateTerms:
    """Raises InvalidInputError for a margin that is no share."""
    for field in ("margin", "group_margin"):
        if message.HasField(field) and not 0 <= getattr(message, field) <= 1:
            raise InvalidInputError.of(
                f"gate.{field}", f"is {getattr(message, field)}; give a loss of accuracy from 0 to 1, such as 0.01"
            )
    return GateTerms(
        margin=message.margin if message.HasField("margin") else MARGIN,
        group_margin=message.group_margin if message.HasField("group_margin") else None,
        force=message.force,
    )


def line_to_proto(tenant: str, line: str, last: LineRevision) -> pb.Line:
    """The line as it was from a revision on."""
    canary = last.line.canary
    return pb.Line(
        name=line_name(tenant, line),
        revision=last.revision,
        champion=student_name(tenant, last.line.champion) if last.line.champion else "",
        former_champions=[student_name(tenant, each) for each in reversed(last.line.champions[:-1])],
        canary=None
        if canary is None
        else pb.Canary(
            student=student_name(tenant, canary.student),
            share=canary.share,
            rollout=canary.rollout,
            automatic=canary.automatic,
            forced=canary.forced,
        ),
        update_time=_timestamp(last.time_ms),
    )


def revision_to_proto(tenant: str, line: str, found: LineRevision) -> pb.LineRevision:
    """One change."""
    return pb.LineRevision(
        revision=found.revision,
        action=pb.LineAction.Value(f"LINE_ACTION_{found.action}"),
        student=student_name(tenant, found.student),
        author=found.author,
        reason=found.reason,
        time=_timestamp(found.time_ms),
        automatic=found.automatic,
        forced=found.forced,
        gate=found.gate,
        line=line_to_proto(tenant, line, found),
    )


def rollout_to_proto(tenant: str, found: Rollout) -> pb.Rollout:
    """Both students and the verdict."""
    return pb.Rollout(
        rollout=found.name,
        champion=_arm(tenant, found.champion),
        canary=_arm(tenant, found.canary),
        decision=pb.RolloutDecision.Value(f"ROLLOUT_DECISION_{found.verdict.decision}"),
        low=found.verdict.low,
        high=found.verdict.high,
        is_going_on=found.is_going_on,
    )


def _arm(tenant: str, arm: Arm) -> pb.Outcomes:
    return pb.Outcomes(
        student=student_name(tenant, arm.student),
        predictions=arm.count.predictions,
        right=arm.count.right,
        total=arm.count.total,
    )


def _timestamp(time_ms: int) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMilliseconds(time_ms)
    return timestamp

"""From the messages about alarms, groups and scorecards to the types of the SDK."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from google.protobuf.message import Message
from kdaif_proto.v1 import jobs_pb2 as pb

from kdaif_client._fields import choice_of, enum_name
from kdaif_client.monitoring_types import Alarm, GroupAccuracy, GroupWeight, Scorecard


def monitored(message: pb.DistillationJob.Result) -> dict[str, Any]:
    """The fields of a result that are about these."""
    return {
        "alarms": tuple(Alarm(**_plain(each, Alarm) | {"code": enum_name(each, "code")}) for each in message.alarms),
        "groups": tuple(GroupAccuracy(**_plain(each, GroupAccuracy)) for each in message.groups),
        "group_weights": tuple(
            GroupWeight(**_plain(each, GroupWeight) | {"verdict": choice_of(each, "verdict") or ""})
            for each in message.group_weights
        ),
        "scorecard": _scorecard(message.scorecard) if message.HasField("scorecard") else None,
    }


def _scorecard(message: pb.Scorecard) -> Scorecard:
    lists = {"shares": dict(message.shares), "figures": dict(message.figures), "notes": tuple(message.notes)}
    return Scorecard(**_plain(message, Scorecard) | lists)


def _plain(message: Message, made: type) -> dict[str, Any]:
    """Fields of the same names; an optional one that is not set is None."""
    found = {}
    for field in fields(made):
        descriptor = message.DESCRIPTOR.fields_by_name[field.name]
        is_unset = descriptor.has_presence and not message.HasField(field.name)
        found[field.name] = None if is_unset else getattr(message, field.name)
    return found

"""What monitoring found, as messages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kdaif_proto.v1 import jobs_pb2 as pb

from kdaif.records import JobResult


def monitored(result: JobResult) -> dict[str, Any]:
    """The fields of a result that are about alarms, groups and the scorecard."""
    card = result.scorecard
    return {
        "alarms": [
            pb.Alarm(**asdict(alarm) | {"code": pb.Alarm.Code.Value(f"CODE_{alarm.code}")}) for alarm in result.alarms
        ],
        "groups": [pb.GroupAccuracy(**_known(group)) for group in result.groups],
        "group_weights": [
            pb.GroupWeight(
                **_known(group) | {"verdict": pb.GroupWeight.Verdict.Value(f"VERDICT_{group.verdict.upper()}")}
            )
            for group in result.group_weights
        ],
        "scorecard": None if card is None else pb.Scorecard(**_known(card)),
    }


def _known(value: Any) -> dict[str, Any]:
    return {name: item for name, item in asdict(value).items() if item is not None}

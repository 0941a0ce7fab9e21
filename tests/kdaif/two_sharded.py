"""A program: an arm whose student is cut over the processes, or whole in one; perhaps resumed from its first round.

Usage: two_sharded PATH NETWORK RESUMED, of the rows and targets of `two_processes`.
"""

from __future__ import annotations

import os
import sys

import torch
from pydantic import TypeAdapter

from kdaif.collective import joined
from kdaif.evaluation import predict
from kdaif.processes import end_now
from kdaif.records import Architecture, DistillationSpec, Training, Weighting
from kdaif.rounds import ArmState, sharded_student_of, student_of, train_arm
from kdaif.sharding import own_part
from kdaif.students import Student
from kdaif.workspace import Workspace
from tests.kdaif.two_processes import rows_and_logits

_ARCHITECTURE: TypeAdapter[Architecture] = TypeAdapter(Architecture)
_CPU = torch.device("cpu")


def held_numbers(student: Student) -> int:
    """Parameters that this process holds."""
    return sum(own_part(parameter).numel() for parameter in student.parameters())


def main() -> None:
    path, network, resumed = sys.argv[1:]
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    data, targets = rows_and_logits()
    spec = DistillationSpec(
        labeled="a" * 32,
        unlabeled="b" * 32,
        student=_ARCHITECTURE.validate_json(network),
        training=Training(rounds=2, epochs_per_round=2, batch_size=63, ema_decay=0.9, patience_rounds=2),
        weighting=Weighting(rounds_per_scoring=1, scout_epochs=3, blocks=4),
    )
    with joined() as group:
        sharded = group.size > 1

        def arm(resume: ArmState | None = None) -> list[ArmState]:
            found = train_arm("influence", spec, data, targets, seed=1, device=_CPU, resume=resume, sharded=sharded)
            return [outcome.state for outcome in found]

        states = arm()
        if resumed == "resumed":
            # As a worker's processes do, all from the first one's file.
            if group.leads:
                torch.save((states[0].tensors, states[0].numbers), f"{path}.first")
            group.meet()
            states = arm(ArmState(*torch.load(f"{path}.first")))
        state = states[-1]
        student = (
            student_of(state, spec, data) if not sharded else sharded_student_of(state, spec, data, Workspace(_CPU))
        )
        held = torch.tensor([held_numbers(student) if rank == group.rank else 0 for rank in range(group.size)])
        group.total(held)
        said = torch.from_numpy(predict(student, data.test.features, _CPU))
        leaders = said.clone()
        group.copied(leaders)
        apart = (leaders - said).abs().max()
        group.total(apart)
        if group.leads:
            found = {"said": said, "held": held, "peers_differ": float(apart), "size": group.size}
            torch.save(found | {"tensors": state.tensors}, path)
        else:
            assert not any(name.startswith(("student/", "optimizer/")) for name in state.tensors)


if __name__ == "__main__":
    main()
    end_now(0)

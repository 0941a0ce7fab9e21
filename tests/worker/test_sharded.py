"""When the students of a job are cut over its processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kdaif_worker.messages import Assignment, ShardStudents
from kdaif_worker.sharded import count_parameters, is_to_be_sharded, require_shardable

from kdaif.collective import SOLO, Collective
from kdaif.errors import InvalidInputError
from kdaif.records import DistillationSpec, Mlp, Weighting
from tests.kdaif.two_processes import rows_and_logits

_DATA, _ = rows_and_logits()
_SPEC = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, student=Mlp(hidden_sizes=(5,)))
_ASSIGNMENT = Assignment("default", "j", 1, "", _SPEC, "file:///nowhere", Path("nowhere"), None)
_CPU = torch.device("cpu")


@pytest.mark.parametrize(("wanted", "cut"), [("auto", False), ("never", False), ("always", True)])
def test_on_cpus_students_are_cut_where_a_worker_says_so(wanted: ShardStudents, cut: bool) -> None:
    given = replace(_ASSIGNMENT, shard_students=wanted)
    assert is_to_be_sharded(given, _DATA, _CPU, Collective(0, 2)) == cut
    assert not is_to_be_sharded(given, _DATA, _CPU, SOLO)


def test_parameters_are_counted_without_a_student() -> None:
    assert count_parameters(_SPEC, _DATA) == 6 * 5 + 5 + 5 * 3 + 3


def test_a_job_that_cannot_be_cut_is_refused_at_its_start_with_the_fix() -> None:
    require_shardable(_SPEC)
    with pytest.raises(InvalidInputError, match=r"spec.weighting.solver is 'ekfac'.* set it to 'head'"):
        require_shardable(_SPEC.model_copy(update={"weighting": Weighting(solver="ekfac")}))

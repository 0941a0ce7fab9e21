"""The network of `Auto` is named once per job."""

from dataclasses import replace
from pathlib import Path

import pytest
from kdaif_worker.messages import Assignment
from kdaif_worker.network import with_network

from kdaif.errors import InvalidInputError
from kdaif.records import Architecture, Auto, DistillationSpec, Export, Mlp
from kdaif.store import BlobStore
from kdaif.students import ladder
from tests.kdaif.rounds.test_train_arm import data

DATA = data(20)


def assignment(student: Architecture, folder: Path, attempt: int = 1) -> Assignment:
    spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, student=student)
    return Assignment("default", "j1", attempt, "", spec, "", folder, None)


def test_a_later_attempt_keeps_the_network_of_the_first(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    first = with_network(assignment(Auto(max_kb=8.0), tmp_path), DATA, blobs)
    assert first.spec.student in ladder("numeric")
    # Another budget would give another network: only what was kept can be equal.
    again = with_network(assignment(Auto(max_ms=1000.0), tmp_path, attempt=3), DATA, blobs)
    assert again.spec.student == first.spec.student
    other_job = replace(assignment(Auto(max_ms=1000.0), tmp_path, attempt=3), job_id="j2")
    assert with_network(other_job, DATA, blobs).spec.student == ladder("numeric")[-1]


def test_without_a_budget_it_is_the_usual_one_and_a_named_one_stays(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    assert with_network(assignment(Auto(), tmp_path), DATA, blobs).spec.student == Mlp()
    named = assignment(Mlp(hidden_sizes=(3,)), tmp_path)
    assert with_network(named, DATA, blobs) is named
    assert blobs.list("tenants/default/jobs") == []


def test_a_named_network_over_the_budget_of_the_export_is_refused_before_training(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    given = assignment(Mlp(hidden_sizes=(512, 256)), tmp_path)
    over = replace(given, spec=given.spec.model_copy(update={"export": Export(max_kb=12.0)}))
    with pytest.raises(InvalidInputError, match=r"spec\.export: .* over 12 kB: .* would fit"):
        with_network(over, DATA, blobs)


def test_where_none_fits_nothing_is_kept(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    with pytest.raises(InvalidInputError, match="no network fits"):
        with_network(assignment(Auto(max_kb=0.1), tmp_path), DATA, blobs)
    assert blobs.list("tenants/default/jobs") == []

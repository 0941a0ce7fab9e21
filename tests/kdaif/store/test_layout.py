from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdaif.errors import InvalidInputError
from kdaif.store import layout

SHA = "ab" * 32
ID = "ab" * 16


def test_paths_are_pinned() -> None:
    assert layout.blob("acme", SHA) == f"tenants/acme/blobs/{SHA}"
    assert layout.dataset("acme", ID) == f"tenants/acme/datasets/{ID}.json"
    assert layout.job_record("acme", "j1", 7) == "tenants/acme/jobs/j1/job-0000000007.json"
    assert layout.weights_shard("acme", "j1", 2, 7) == "tenants/acme/jobs/j1/attempt-2/weights/round-0007.parquet"
    assert (
        layout.checkpoint("acme", "j1", 2, 31) == "tenants/acme/jobs/j1/attempt-2/checkpoints/step-000031.safetensors"
    )
    assert layout.bundle_file("acme", "j1", 2, "student.onnx") == "tenants/acme/jobs/j1/attempt-2/bundle/student.onnx"
    assert layout.attempt_manifest("acme", "j1", 2) == "tenants/acme/jobs/j1/attempt-2/manifest.json"


@given(st.integers(0, 10**9))
def test_checkpoint_step_is_the_inverse(step: int) -> None:
    assert layout.checkpoint_step(layout.checkpoint("acme", "j1", 1, step)) == step


@pytest.mark.parametrize("path", ["", "step-1.safetensors", "x/step-000001.safetensors.tmp", "bundle/student.onnx"])
def test_foreign_paths_have_no_step(path: str) -> None:
    with pytest.raises(ValueError, match="no path of a checkpoint"):
        layout.checkpoint_step(path)


MAKERS: list[Callable[[str], str]] = [
    lambda text: layout.blob(text, SHA),
    lambda text: layout.blob("acme", text),
    lambda text: layout.dataset("acme", text),
    lambda text: layout.job_folder("acme", text),
    lambda text: layout.bundle_file("acme", "j1", 1, text),
]
NASTY = ["", ".", "..", "../../etc/passwd", "a/../b", "/etc", "a\n", "a\x00b", "ä", "%2e%2e", "a//b", ".hidden", "a/.b"]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("text", NASTY)
def test_no_part_escapes(make: Callable[[str], str], text: str) -> None:
    with pytest.raises(InvalidInputError):
        make(text)


@given(st.sampled_from(MAKERS), st.text())
def test_every_path_stays_below_its_tenant(make: Callable[[str], str], text: str) -> None:
    try:
        path = PurePosixPath(make(text))
    except InvalidInputError:
        return
    assert path.parts[0] == "tenants"
    assert not {"..", ".", "/"} & set(path.parts)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="attempt"):
        layout.attempt_manifest("acme", "j1", -1)

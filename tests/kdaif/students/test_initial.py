"""Weights that a student starts from are checked by name and shape."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kdaif.errors import InvalidInputError
from kdaif.rounds import train_arm
from kdaif.students import Student, build_student, load_initial_weights, read_initial_weights
from tests.kdaif.inputs import ARCHITECTURES, rows_of
from tests.kdaif.rounds.test_train_arm import CPU, SMALL, data, spec, wrong_targets


def student(name: str, seed: int = 0) -> Student:
    network, signature = ARCHITECTURES[name]
    return build_student(network, signature, 3, rows_of(signature, 30, seed), seed)


def refusal(file: Path, name: str) -> str:
    with pytest.raises(InvalidInputError) as refused:
        read_initial_weights(file, student(name))
    (violation,) = refused.value.violations
    assert violation.field == "spec.initial_weights"
    return violation.description


@pytest.mark.parametrize("name", ["mlp-table", "resnet", "bag-hidden", "text-encoder"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_student_becomes_the_one_that_was_kept(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    kept, fresh = student(name, seed=1), student(name, seed=2)
    file = tmp_path / "weights.safetensors"
    save_file({key: value.to(dtype) for key, value in kept.named_parameters()}, file)
    own = {key: value.clone() for key, value in fresh.named_buffers()}
    load_initial_weights(fresh, read_initial_weights(file, fresh))
    for key, value in kept.named_parameters():
        assert torch.equal(fresh.get_parameter(key), value.to(dtype).float())
    assert all(torch.equal(fresh.get_buffer(key), value) for key, value in own.items())


def test_d16_an_embedding_of_another_vocabulary_is_refused_with_both_shapes(tmp_path: Path) -> None:
    weights = dict(student("bag").state_dict())
    weights["body.0.pieces.weight"] = torch.zeros(9, 6)
    save_file(weights, tmp_path / "weights.safetensors")
    told = refusal(tmp_path / "weights.safetensors", "bag")
    assert "'body.0.pieces.weight' is [9, 6], and the student's is [10, 6]" in told


def test_other_names_a_wrong_file_and_nan_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    weights = dict(student("bag").state_dict())
    weights["more"] = weights.pop("head.bias")
    save_file(weights, file)
    assert "the file has more and lacks head.bias" in refusal(file, "bag")
    weights = dict(student("bag").state_dict())
    weights["head.bias"] = torch.full((3,), torch.nan)
    save_file(weights, file)
    assert "tensor 'head.bias' holds NaN" in refusal(file, "bag")
    file.write_bytes(b"no tensors at all")
    assert "is no safetensors file" in refusal(file, "bag")


def test_every_arm_starts_from_them() -> None:
    given, chosen = data(40), spec(SMALL)
    still = chosen.model_copy(
        update={"training": chosen.training.model_copy(update={"rounds": 1, "learning_rate": 1e-12})}
    )
    reference = np.concatenate([given.labeled.features, given.unlabeled.features])
    weights = build_student(SMALL, given.signature, 3, reference, seed=77).state_dict()
    targets = wrong_targets(given, 0.4)
    for arm in ("influence", "uniform", "supervised"):
        (only,) = train_arm(arm, still, given, targets, seed=0, device=CPU, initial_weights=weights)
        torch.testing.assert_close(only.state.tensors["student/head.weight"], weights["head.weight"])

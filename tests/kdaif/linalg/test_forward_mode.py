import numpy as np
import pytest
import torch

from kdaif.datasets import InputSignature
from kdaif.linalg import directional_derivatives, finite_differences, logits_of, parameter_vector
from kdaif.records.architectures import Cnn, Mlp
from kdaif.students import Student, build_student


def student(architecture: Mlp | Cnn) -> tuple[Student, torch.Tensor]:
    rows = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 2), dtype=np.uint8)
    signature = InputSignature(kind="image", shape=(8, 8, 2), columns=("image",))
    return build_student(architecture, signature, 4, rows, seed=0).eval(), torch.from_numpy(rows)


@pytest.mark.parametrize("architecture", [Mlp(hidden_sizes=(16, 8), dropout=0.2), Cnn(channels=(4, 6), hidden_size=8)])
def test_forward_mode_equals_the_jacobian_and_the_central_difference(architecture: Mlp | Cnn) -> None:
    module, rows = student(architecture)
    theta, function = parameter_vector(module), logits_of(module, rows)
    directions = torch.randn(3, len(theta), generator=torch.Generator().manual_seed(1))
    outputs, changes = directional_derivatives(function, theta, directions)
    torch.testing.assert_close(outputs, module(rows))
    jacobian = torch.autograd.functional.jacobian(function, theta)
    torch.testing.assert_close(changes, torch.einsum("mcp,kp->kmc", jacobian, directions), rtol=1e-3, atol=1e-4)
    # Central differences bend where a step crosses the kink of a ReLU, hence a correlation and not equality.
    _, differences = finite_differences(function, theta, directions)
    assert np.corrcoef(differences.flatten(), changes.flatten())[0, 1] > 0.999


def test_a_direction_of_zero_has_no_derivative() -> None:
    module, rows = student(Mlp())
    theta = parameter_vector(module)
    for derivatives in (directional_derivatives, finite_differences):
        _, changes = derivatives(logits_of(module, rows), theta, torch.zeros(1, len(theta)))
        assert not bool(changes.any())

"""Parameters that a student starts from instead of random ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kdaif.errors import InvalidInputError
from kdaif.students.student import Student

_FIELD = "spec.initial_weights"
_NAMED = 5


def read_initial_weights(file: Path, student: Student) -> dict[str, Tensor]:
    """Tensors by name, on the CPU in the student's dtypes, after a check of all names and shapes.

    Every parameter must be there. A buffer (the standardisation, what BatchNorm remembers) may be left out: it then is
    the student's own, from this job's rows.

    Args:
        file: in the safetensors format.
        student: as `build_student` made it; left as it is.

    Raises:
        InvalidInputError: no such file, a name that the student does not have or a parameter that the file does not
            have, another shape, or a value that is NaN or infinite.
    """
    own = student.state_dict()
    needed = {name for name, _ in student.named_parameters()}
    try:
        with safe_open(file, framework="pt") as given:
            shapes = {name: list(given.get_slice(name).get_shape()) for name in given.keys()}  # noqa: SIM118
            _check(shapes, {name: list(tensor.shape) for name, tensor in own.items()}, needed)
            found = {name: given.get_tensor(name).to(own[name].dtype) for name in shapes}
    except SafetensorError as error:
        raise InvalidInputError.of(_FIELD, f"is no safetensors file: {error}") from error
    bad = [name for name, tensor in found.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise InvalidInputError.of(_FIELD, f"tensor {bad[0]!r} holds NaN or infinity")
    return found


def load_initial_weights(student: Student, weights: Mapping[str, Tensor]) -> None:
    """Puts the tensors of `read_initial_weights` in place; the file's names are the student's."""
    student.load_state_dict({**student.state_dict(), **weights})


def _check(given: Mapping[str, list[int]], own: Mapping[str, list[int]], needed: set[str]) -> None:
    for name, shape in given.items():
        if name in own and shape != own[name]:
            raise InvalidInputError.of(
                _FIELD,
                f"tensor {name!r} is {shape}, and the student's is {own[name]}; give weights of this very network and, "
                "for text, of this very vocabulary",
            )
    unknown, missing = sorted(given.keys() - own.keys()), sorted(needed - given.keys())
    if unknown or missing:
        told = [
            f"{what} {', '.join(names[:_NAMED])}" for what, names in (("has", unknown), ("lacks", missing)) if names
        ]
        raise InvalidInputError.of(
            _FIELD, f"the names are not the student's: the file {' and '.join(told)}; the student has {', '.join(own)}"
        )

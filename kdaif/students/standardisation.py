"""Mean and spread of the reference rows."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.datasets import InputSignature
from kdaif.students.tables import has_special_columns, number_columns

# A float32 column whose spread is below its own rounding error is constant; dividing by it would blow up noise.
_RELATIVE_SPREAD = 1e-6
_SMALLEST_SPREAD = 1e-30


def standardisation(reference: NDArray[np.generic], signature: InputSignature) -> tuple[Tensor, Tensor]:
    """Mean and spread, float32: each `[D]` for numeric rows, `[C, 1, 1]` for images scaled to 0..1, `[0]` for text.

    A nullable column's are those of its other values, 0 and 1 where it has none. Codes of categories stay as they are.

    Args:
        reference: float32 `[N, D]`, uint8 `[N, H, W, C]` or int32 `[N, max_tokens]`, N >= 1.
        signature: kind and shape of one row.
    """
    if signature.kind == "text":
        return torch.zeros(0), torch.ones(0)
    values = reference.astype(np.float64)
    if signature.kind == "image":
        values = values.reshape(-1, signature.shape[-1]) / 255.0
    if has_special_columns(signature):
        mean, spread = _of_numbers(values, signature)
    else:
        mean, spread = values.mean(axis=0), values.std(axis=0)
    constant = spread <= np.maximum(_RELATIVE_SPREAD * np.abs(mean), _SMALLEST_SPREAD)
    scale = np.where(constant, 1.0, spread)
    shape = (-1, 1, 1) if signature.kind == "image" else (-1,)
    return (
        torch.from_numpy(mean.astype(np.float32)).reshape(shape),
        torch.from_numpy(scale.astype(np.float32)).reshape(shape),
    )


def _of_numbers(
    values: NDArray[np.float64], signature: InputSignature
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and spread `[D]` over the values that are not null; 0 and 1 for columns of codes or of nulls alone."""
    mean, spread = np.zeros(signature.shape[0]), np.ones(signature.shape[0])
    for place in number_columns(signature):
        column = values[:, place]
        known = column[~np.isnan(column)]
        if len(known):
            mean[place], spread[place] = known.mean(), known.std()
    return mean, spread

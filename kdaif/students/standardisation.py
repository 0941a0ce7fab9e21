"""Mean and spread of the reference rows."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.datasets import InputSignature

# A float32 column whose spread is below its own rounding error is constant; dividing by it would blow up noise.
_RELATIVE_SPREAD = 1e-6
_SMALLEST_SPREAD = 1e-30


def standardisation(reference: NDArray[np.generic], signature: InputSignature) -> tuple[Tensor, Tensor]:
    """Mean and spread, float32: each `[D]` for numeric rows, `[C, 1, 1]` for images scaled to 0..1.

    Args:
        reference: float32 `[N, D]` or uint8 `[N, H, W, C]`, N >= 1.
        signature: kind and shape of one row.
    """
    values = reference.astype(np.float64)
    if signature.kind == "image":
        values = values.reshape(-1, signature.shape[-1]) / 255.0
    mean, spread = values.mean(axis=0), values.std(axis=0)
    constant = spread <= np.maximum(_RELATIVE_SPREAD * np.abs(mean), _SMALLEST_SPREAD)
    scale = np.where(constant, 1.0, spread)
    shape = (-1, 1, 1) if signature.kind == "image" else (-1,)
    return (
        torch.from_numpy(mean.astype(np.float32)).reshape(shape),
        torch.from_numpy(scale.astype(np.float32)).reshape(shape),
    )

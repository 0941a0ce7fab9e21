"""Logits of a student over many rows."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kdaif.errors import NonFiniteError
from kdaif.sharding import is_sharded
from kdaif.students import Student

_BATCH_ROWS = 4096


def predict(student: Student, features: NDArray[Any], device: torch.device) -> NDArray[Any]:
    """Runs the student over the rows, batch by batch, in eval mode.

    The student itself is left where and as it is: a copy is moved to ``device`` and set to eval. One that is cut over
    processes is used as it is, on ``device`` and in eval mode; all processes then have to give it the same rows.

    Args:
        student: the student; preprocessing is inside it.
        features: raw rows, float32 ``[N, D]`` or uint8 ``[N, H, W, C]``.
        device: where to compute.

    Returns:
        Logits, float32 ``[N, C]``, on the CPU.

    Raises:
        NonFiniteError: a logit is NaN or infinite; the message counts the rows and gives the first ten positions.
    """
    model = student if is_sharded(student) else copy.deepcopy(student).to(device).eval()
    with torch.inference_mode():
        # One empty batch still tells how many classes there are.
        starts = range(0, max(len(features), 1), _BATCH_ROWS)
        batches = [_logits(model, features[start : start + _BATCH_ROWS], device) for start in starts]
    logits = np.concatenate(batches)
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        raise NonFiniteError(
            f"the student's logits are NaN or infinite for {len(bad)} of {len(logits)} rows, first at positions "
            f"{bad[:10].tolist()}; look for features far outside the training range or a learning rate that is too high"
        )
    return logits


def _logits(model: torch.nn.Module, rows: NDArray[Any], device: torch.device) -> NDArray[Any]:
    # A copy, because rows read from Arrow are read-only and torch refuses to share those.
    batch = torch.from_numpy(np.array(rows, order="C")).to(device)
    logits: NDArray[Any] = model(batch).to("cpu", torch.float32).numpy()
    return logits

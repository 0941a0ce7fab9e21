"""Rows as they might have been too: pictures shifted and mirrored, word pieces left out. In training steps alone."""

from __future__ import annotations

import torch
from torch import Tensor

from kdaif.errors import InvalidInputError

_SHIFT = 8  # at most one in so many pixels, as 4 of 32 for CIFAR (He et al. 2016)
_DROPPED_SHARE = 0.1


def augmented(features: Tensor) -> Tensor:
    """Raw rows of the same shape, dtype and device, each varied by itself, by torch's own generator of the device.

    Args:
        features: uint8 `[N, H, W, C]`: each shifted by up to an eighth of its height and width, zeros coming in, and
            half of them mirrored left to right. Integer `[N, T]`: every word piece becomes padding (0) with probability
            .1, but a row that would lose all of them loses none.

    Raises:
        InvalidInputError: rows of numbers.
    """
    if features.is_floating_point():
        raise InvalidInputError.of("spec.training.augment", "augment needs images or text; leave it out for numbers")
    return _shifted_and_mirrored(features) if features.ndim == 4 else _with_pieces_dropped(features)


def _shifted_and_mirrored(pictures: Tensor) -> Tensor:
    n, height, width, _ = pictures.shape
    device = pictures.device
    y, y_inside = _shifted(n, height, device)
    x, x_inside = _shifted(n, width, device)
    mirrored = torch.rand(n, 1, device=device) < 0.5
    x = torch.where(mirrored, width - 1 - x, x)
    row = torch.arange(n, device=device)[:, None, None]
    moved = pictures[row, y[:, :, None], x[:, None, :]]
    inside = y_inside[:, :, None] & x_inside[:, None, :]
    return moved * inside[..., None].to(pictures.dtype)


def _shifted(n: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each of N pictures the place each pixel of an axis comes from, and whether that is inside; `[N, size]`."""
    most = size // _SHIFT
    by = torch.randint(-most, most + 1, (n, 1), device=device)
    place = torch.arange(size, device=device)[None] - by
    return place.clamp(0, size - 1), (place >= 0) & (place < size)


def _with_pieces_dropped(ids: Tensor) -> Tensor:
    kept = torch.rand(ids.shape, device=ids.device) >= _DROPPED_SHARE
    left = torch.where(kept, ids, torch.zeros_like(ids))
    return torch.where((left != 0).any(dim=1, keepdim=True), left, ids)

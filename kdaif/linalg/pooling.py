"""Max-pooling over windows that do not overlap, as elementwise maxima."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class FastPooling(TorchFunctionMode):
    """Within it a network's max-pooling on a CPU takes a fraction of its time, and has the same values.

    Torch looks for a maximum and its place entry by entry, where this takes the larger of two slices. For passes
    without a derivative: those of torch's own are faster. Windows that overlap, are padded or dilated stay with torch.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _POOLING:
            size = _plain_size(*args, **(kwargs or {}))
            if size is not None:
                return _pooled(args[0], size)
        return func(*args, **(kwargs or {}))


_POOLING = (functional.max_pool2d, torch.max_pool2d)


def _plain_size(
    rows: Tensor,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[int, int] | None:
    """Height and width of windows that lie side by side; None for others, and on another device than the CPU."""
    size = _pair(kernel_size)
    plain = _pair(stride or kernel_size) == size and _pair(padding) == (0, 0) and _pair(dilation) == (1, 1)
    whole = not ceil_mode and all(n >= k for n, k in zip(rows.shape[-2:], size, strict=True))
    return size if plain and whole and not return_indices and rows.device.type == "cpu" else None


def _pair(value: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    values = tuple(value) * 2
    return values[0], values[1]


def _pooled(rows: Tensor, size: tuple[int, int]) -> Tensor:
    """Along columns first: rows of pixels lie together."""
    (height, width), (down, across) = rows.shape[-2:], size
    height, width = height - height % down, width - width % across
    found = rows[..., 0:height:down, :width]
    for at in range(1, down):
        found = torch.maximum(found, rows[..., at:height:down, :width])
    pooled = found[..., 0::across]
    for at in range(1, across):
        pooled = torch.maximum(pooled, found[..., at::across])
    return pooled

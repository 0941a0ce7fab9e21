"""How many rows a network works on at once, and of how many it keeps what it computed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Numbers in the largest output of a layer: 2 MiB in float32. Measured with convolutions on one core: a pass over rows
# whose outputs stay in the cache takes a third of the time of one over 3,000 rows at once; 1 MiB and 4 MiB are slower.
_NUMBERS = 1 << 19
_FEWEST_ROWS = 32
# Of all layers, for both directions of a linearised network: 16 MiB in float32.
_KEPT_NUMBERS = 1 << 22


def rows_at_once(module: nn.Module, features: Tensor, directions: int = 1) -> int:
    """Rows whose largest intermediate result stays in the cache; all of them on a device other than the CPU.

    Args:
        module: in eval mode.
        features: raw rows `[M, ...]`.
        directions: along which each of them is differentiated side by side.
    """
    if features.device.type != "cpu" or not len(features):
        return max(1, len(features))
    return max(_FEWEST_ROWS, _NUMBERS // (max(_output_sizes(module, features[:1])) * max(1, directions)))


def rows_to_keep(module: nn.Module, features: Tensor) -> int:
    """Rows at which the network may stay linearised, by the memory that takes; of others it is done anew each time.

    Arguments as `rows_at_once`.
    """
    if features.device.type != "cpu" or not len(features):
        return len(features)
    return _KEPT_NUMBERS // (2 * sum(_output_sizes(module, features[:1])))


def _output_sizes(module: nn.Module, row: Tensor) -> list[int]:
    """Numbers per row in the output of each layer, 1 for none."""
    sizes = [1]
    handles = [
        layer.register_forward_hook(
            lambda _, __, output: sizes.append(output.numel()) if isinstance(output, Tensor) else None
        )
        for layer in module.modules()
        if not list(layer.children())
    ]
    try:
        with torch.no_grad():
            module(row)
    finally:
        for handle in handles:
            handle.remove()
    return sizes

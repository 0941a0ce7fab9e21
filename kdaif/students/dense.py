"""Fully connected layers, which most bodies end with."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def hidden_layers(width: int, hidden_sizes: Sequence[int], dropout: float) -> tuple[list[nn.Module], int]:
    """Linear, ReLU and, where asked for, Dropout for each size, from inputs of `width`; and the last width."""
    layers: list[nn.Module] = []
    for hidden in hidden_sizes:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        width = hidden
    return layers, width

"""Mean and spread of the rows that a student is trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.datasets import InputSignature
from kdaif.scratch import Scratch
from kdaif.students.tables import has_special_columns, number_columns

# A float32 column whose spread is below its own rounding error is constant; dividing by it would blow up noise.
_RELATIVE_SPREAD = 1e-6
_SMALLEST_SPREAD = 1e-30


@dataclass(frozen=True, eq=False)
class Standardisation:
    """Float32, each `[D]` for numeric rows, `[C, 1, 1]` for images scaled to 0..1, `[0]` for text.

    Attributes:
        mean: of each input.
        scale: its standard deviation, 1 where it is constant.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def none(cls, signature: InputSignature) -> Standardisation:
        """Inputs as they are: of a student whose own is loaded after it was built."""
        if signature.kind == "text":
            return cls(torch.zeros(0), torch.ones(0))
        shape = (signature.shape[-1], 1, 1) if signature.kind == "image" else signature.shape
        return cls(torch.zeros(shape), torch.ones(shape))


def standardisation(
    parts: Sequence[NDArray[np.generic]], signature: InputSignature, scratch: Scratch | None = None
) -> Standardisation:
    """Mean and spread over the rows of all parts, which are passed over twice, a slab at a time.

    A nullable column's are those of its other values, 0 and 1 where it has none. Codes of categories stay as they are.

    Args:
        parts: float32 `[N, D]`, uint8 `[N, H, W, C]` or int32 `[N, max_tokens]` each; one row or more in all.
        signature: kind and shape of one row.
        scratch: that the rows lie in; None where they are in memory.
    """
    if signature.kind == "text":
        return Standardisation.none(signature)
    rows = _Rows(parts, signature, Scratch() if scratch is None else scratch)
    counts = rows.counts()
    known = np.maximum(counts, 1.0)
    mean = rows.sums(lambda values: values) / known
    spread = np.sqrt(rows.sums(lambda values: (values - mean) ** 2) / known)
    if has_special_columns(signature):
        numbers = np.isin(np.arange(len(mean)), number_columns(signature)) & (counts > 0)
        mean, spread = np.where(numbers, mean, 0.0), np.where(numbers, spread, 1.0)
    constant = spread <= np.maximum(_RELATIVE_SPREAD * np.abs(mean), _SMALLEST_SPREAD)
    scale = np.where(constant, 1.0, spread)
    shape = (-1, 1, 1) if signature.kind == "image" else (-1,)
    return Standardisation(
        torch.from_numpy(mean.astype(np.float32)).reshape(shape),
        torch.from_numpy(scale.astype(np.float32)).reshape(shape),
    )


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of all parts, as float64 values of W inputs: columns, or channels with a value for each pixel."""

    parts: Sequence[NDArray[np.generic]]
    signature: InputSignature
    scratch: Scratch

    def sums(self, of: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
        """The sum `[W]` over the values `[M, W]`, changed by `of`, that are not NaN."""
        total = np.zeros(self.signature.shape[-1])
        add = np.nansum if has_special_columns(self.signature) else np.sum
        for part in self.parts:
            # The values, and twice as much that is made of them on the way.
            for rows in self.scratch.slabs(len(part), 3 * 8 * math.prod(self.signature.shape)):
                total += add(of(self._values(part[rows])), axis=0)
        return total

    def counts(self) -> NDArray[np.float64]:
        """How many values each input has, `[W]`."""
        if has_special_columns(self.signature):
            return self.sums(lambda values: (~np.isnan(values)).astype(np.float64))
        width = self.signature.shape[-1]
        return np.full(width, float(sum(part.size for part in self.parts) // width))

    def _values(self, rows: NDArray[np.generic]) -> NDArray[np.float64]:
        values = rows.astype(np.float64)
        return values.reshape(-1, self.signature.shape[-1]) / 255.0 if self.signature.kind == "image" else values

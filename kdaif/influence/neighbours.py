"""The rows that a student sees as nearly the same: nearest in what its last layer is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest rows of N asked ones, the nearest first.

    Attributes:
        places: of the rows among all that were looked at, int64 `[N, k]`; -1 where there were fewer.
        distances: float64 `[N, k]`, in units of the root mean square distance of two rows; NaN where there were fewer.
        searched: rows that were looked at.
    """

    places: NDArray[np.int64]
    distances: NDArray[np.float64]
    searched: int


class NearestSearch:
    """Looks at rows run by run and keeps the nearest ones: memory for N k of them, however many there are.

    Args:
        asked: features of the asked rows, `[N, I]`.
        own: their places among all rows, int64 `[N]`; no row is its own neighbour.
        most: k.
    """

    def __init__(self, asked: Tensor, own: Tensor, most: int) -> None:
        # About their mean, in float64: else the difference of two large squares hides small distances.
        self._centre = asked.double().mean(dim=0)
        self._asked = asked.double() - self._centre
        self._own = own
        self._most = most
        self._squares = torch.full((len(asked), most), torch.inf, dtype=torch.float64, device=asked.device)
        self._places = torch.full((len(asked), most), -1, dtype=torch.int64, device=asked.device)
        self._count, self._sum = 0, torch.zeros_like(self._centre)
        self._square_sum = 0.0

    def look(self, features: Tensor, places: Tensor) -> None:
        """At some rows, `[M, I]`, with their places among all, int64 `[M]`."""
        rows = features.double() - self._centre
        squared = rows.square().sum(dim=1)
        self._count, self._sum = self._count + len(rows), self._sum + rows.sum(dim=0)
        self._square_sum += float(squared.sum())
        distances = (self._asked.square().sum(dim=1)[:, None] + squared - 2 * self._asked @ rows.T).clamp_min(0.0)
        distances = torch.where(self._own[:, None] == places, torch.inf, distances)
        squares = torch.cat([self._squares, distances], dim=1)
        of_places = torch.cat([self._places, places.expand(len(self._asked), -1)], dim=1)
        self._squares, kept = squares.topk(self._most, dim=1, largest=False)
        self._places = of_places.gather(1, kept)

    def found(self) -> Nearest:
        """Of all rows so far."""
        count = max(1, self._count)
        spread = self._square_sum / count - float((self._sum / count).square().sum())
        scale = np.sqrt(2 * spread) if spread > 0 else 1.0
        squares, places = self._squares.cpu().numpy(), self._places.cpu().numpy()
        missing = ~np.isfinite(squares)
        distances = np.where(missing, np.nan, np.sqrt(np.where(missing, 0.0, squares)) / scale)
        return Nearest(np.where(missing, -1, places), distances, self._count)

"""What `kdaif.top_classes` keeps, as tensors of a job's device: log-probabilities, or probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.top_classes import KEPT_CLASSES, TopClasses, class_dtype
from kdaif.workspace import Workspace

Kind = Literal["logarithms", "probabilities"]


@dataclass(frozen=True, eq=False)
class TopRows:
    """Float32 `[N, C]`, of each row the k largest numbers as they are, and one number for every other class.

    Reads and writes as a tensor does, a run of rows at a time: `rows[some]` is whole, and `rows[some] = numbers` keeps
    of them what it keeps.

    Attributes:
        values: the k largest, `[N, k]`.
        classes: whose they are, int16 or int32 `[N, k]`.
        rest: the number of every other class, `[N]`: with it they sum to what they summed to, as probabilities.
        n_classes: C.
        kind: what the numbers are.
        temperature: T of the job.
    """

    values: Tensor
    classes: Tensor
    rest: Tensor
    n_classes: int
    kind: Kind
    temperature: float

    @classmethod
    def empty(
        cls, n_rows: int, n_classes: int, kind: Kind, temperature: float, room: Workspace, *, kept: int = KEPT_CLASSES
    ) -> TopRows:
        """Room for N rows; one that is not written holds zeros."""
        k = min(kept, n_classes)
        dtype = torch.int16 if class_dtype(n_classes) == np.int16 else torch.int32
        values, classes, rest = room.zeros((n_rows, k)), room.zeros((n_rows, k), dtype), room.zeros((n_rows,))
        return cls(values, classes, rest, n_classes, kind, temperature)

    def like(self, room: Workspace, *, kind: Kind | None = None) -> TopRows:
        """Room for as many rows, all zeros."""
        k = self.values.shape[1]
        return self.empty(len(self), self.n_classes, kind or self.kind, self.temperature, room, kept=k)

    @property
    def shape(self) -> tuple[int, int]:
        """N and C."""
        return len(self.values), self.n_classes

    @property
    def device(self) -> torch.device:
        """Of every tensor."""
        return self.values.device

    def tensors(self, name: str) -> dict[str, Tensor]:
        """For a state, by names that begin with this one."""
        of = torch.tensor([float(self.n_classes), self.temperature], dtype=torch.float64)
        own = {"values": self.values, "classes": self.classes, "rest": self.rest, "of": of}
        return {f"{name}.{part}": tensor for part, tensor in own.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], name: str, kind: Kind, room: Workspace) -> TopRows | None:
        """Back from `tensors`; None where they are not there."""
        if f"{name}.of" not in tensors:
            return None
        values, classes, rest = (room.moved(tensors[f"{name}.{p}"].numpy()) for p in ("values", "classes", "rest"))
        n_classes, temperature = tensors[f"{name}.of"].tolist()
        return cls(values, classes, rest, int(n_classes), kind, temperature)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> Tensor:
        return _whole(self.values[rows], self.classes[rows], self.rest[rows], self.n_classes)

    def __setitem__(self, rows: slice, numbers: Tensor) -> None:
        self.values[rows], self.classes[rows], self.rest[rows] = self._cut(numbers)

    def take(self, rows: NDArray[np.int64], room: Workspace) -> Tensor:
        """Some rows `[M, C]`, whole, in any order."""
        values, classes, rest = (room.take(tensor, rows) for tensor in (self.values, self.classes, self.rest))
        return _whole(values, classes, rest, self.n_classes)

    def put(self, rows: NDArray[np.int64], numbers: Tensor, room: Workspace) -> None:
        """`self[rows] = numbers`, of rows in any order."""
        for tensor, cut in zip((self.values, self.classes, self.rest), self._cut(numbers), strict=True):
            room.put(tensor, rows, cut)

    def _cut(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        k = self.values.shape[1]
        values, classes = numbers.topk(k, dim=1, sorted=False)
        left = self.n_classes - k
        if left == 0:
            rest = torch.zeros_like(values[:, 0])
        elif self.kind == "logarithms":
            rest = numbers.scatter(1, classes, -torch.inf).logsumexp(dim=1) - math.log(left)
        else:
            rest = numbers.scatter(1, classes, 0.0).sum(dim=1) / left
        return values, classes.to(self.classes.dtype), rest


RowNumbers = Tensor | TopRows
"""Numbers of N rows, one for each of C classes, whole or not: both have a shape and are read run by run."""


def taken(numbers: RowNumbers, rows: NDArray[np.int64], room: Workspace) -> Tensor:
    """Some rows `[M, C]`, whole, in any order."""
    return numbers.take(rows, room) if isinstance(numbers, TopRows) else room.take(numbers, rows)


def hold_top_rows(tensors: Mapping[str, Tensor]) -> bool:
    """Whether `TopRows.tensors` gave some of them."""
    return any(name.endswith(".of") and f"{name.removesuffix('.of')}.rest" in tensors for name in tensors)


def temperature_of(numbers: RowNumbers) -> float | None:
    """Of what is kept by its largest classes; None of what is whole."""
    return numbers.temperature if isinstance(numbers, TopRows) else None


def empty_rows(n_rows: int, like: RowNumbers, kind: Kind, room: Workspace) -> RowNumbers:
    """Room for N rows of as many classes, kept as those are; of any values where they are whole."""
    if isinstance(like, TopRows):
        k = like.values.shape[1]
        return TopRows.empty(n_rows, like.n_classes, kind, like.temperature, room, kept=k)
    return room.empty((n_rows, like.shape[1]))


def log_targets_of(logits: TopClasses, room: Workspace) -> TopRows:
    """Log q^T of a teacher's logits: those kept are as exact as those of whole rows, and the others have their mass."""
    k, left = logits.values.shape[1], logits.n_classes - logits.values.shape[1]
    temperature = logits.temperature
    found = TopRows.empty(len(logits), logits.n_classes, "logarithms", temperature, room, kept=k)
    for rows in room.slabs(len(logits), 8 * 4 * k):
        values, rest = (torch.from_numpy(each[rows]) / temperature for each in (logits.values, logits.rest[:, 1]))
        of_rest = rest + math.log(left) if left else torch.full_like(rest, -torch.inf)
        whole = torch.logaddexp(values.logsumexp(dim=1), of_rest)
        found.values[rows] = (values - whole[:, None]).to(room.device)
        found.classes[rows] = torch.from_numpy(logits.classes[rows]).to(room.device)
        found.rest[rows] = (rest - whole).to(room.device)
    return found


def _whole(values: Tensor, classes: Tensor, rest: Tensor, n_classes: int) -> Tensor:
    return rest[:, None].repeat(1, n_classes).scatter_(1, classes.long(), values)

"""Rows of logits over very many classes: of each row the largest by themselves, and the others as one number.

A row of 10,000 classes is 40 kB, of which a student learns from some dozens. What is left of it here takes under 400
bytes, and is spread over all classes again only for the rows that are worked on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.records.spec import Training
from kdaif.scratch import Scratch

MOST_WHOLE_CLASSES = 256
"""Rows of more classes are kept by their largest ones."""

KEPT_CLASSES = 64
"""So many of them."""


def softening(training: Training, n_classes: int) -> float | None:
    """The temperature whose tail is kept beside that of temperature 1; None where rows are kept whole.

    Only for the loss whose error this bounds: T^2 KL(q^T || p^T) weighs what it says of a class by the teacher's
    probability of it. The others weigh classes that the teacher rules out, or the spread of all logits.
    """
    if n_classes <= MOST_WHOLE_CLASSES or training.loss != "forward_kl" or training.standardise_logits:
        return None
    return training.temperature


@dataclass(frozen=True, eq=False)
class TopClasses:
    """Float32 `[N, C]`, of each row the k largest logits as they are, and for all others one logit of the same mass.

    Reads and writes as an array does: `rows[some]` are whole logits at temperature 1, and `rows[some] = logits` keeps
    of them what it keeps. The one logit is such that the others together have the probability that they had. At another
    temperature that is another logit, so there are two.

    Attributes:
        values: the k largest, float32 `[N, k]`, in no order.
        classes: whose they are, int16 or int32 `[N, k]`.
        rest: the logit of every other class, at temperature 1 and at ``temperature``, float32 `[N, 2]`; NaN in a row
            one of whose others was not finite.
        n_classes: C.
        temperature: T.
        softened: whether `rows[some]` has the logit at ``temperature`` instead.
    """

    values: NDArray[np.float32]
    classes: NDArray[np.integer[Any]]
    rest: NDArray[np.float32]
    n_classes: int
    temperature: float
    softened: bool = False

    @classmethod
    def empty(
        cls, n_rows: int, n_classes: int, temperature: float, scratch: Scratch, *, kept: int = KEPT_CLASSES
    ) -> TopClasses:
        """Of any values. Raises UnavailableError where the disk has no room."""
        k = min(kept, n_classes)
        return cls(
            scratch.empty((n_rows, k), np.float32),
            scratch.empty((n_rows, k), class_dtype(n_classes)),
            scratch.empty((n_rows, 2), np.float32),
            n_classes,
            temperature,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """N and C."""
        return len(self.values), self.n_classes

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is as long as the rows, by name."""
        return {"values": self.values, "classes": self.classes, "rest": self.rest}

    def at_temperature(self) -> TopClasses:
        """The same rows, read with the tail of their temperature."""
        return replace(self, softened=True)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice | NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        return self._whole(self.values[rows], self.classes[rows], self.rest[rows])

    def __array__(self, dtype: object = None, copy: object = None) -> NDArray[np.float32]:
        """Refused, or numpy would try it element by element."""
        raise TypeError("very many classes: read these logits a run of rows at a time")

    def __setitem__(self, rows: slice | NDArray[np.integer[Any]], logits: NDArray[np.float32]) -> None:
        k = self.values.shape[1]
        top = np.sort(np.argpartition(logits, self.n_classes - k, axis=1)[:, self.n_classes - k :], axis=1)
        self.values[rows] = np.take_along_axis(logits, top, axis=1)
        self.classes[rows] = top
        others = np.array(logits, np.float32)
        np.put_along_axis(others, top, -np.inf, axis=1)
        finite = np.isfinite(others).sum(axis=1) == self.n_classes - k
        at_one, at_temperature = (_alike(others, t, self.n_classes - k) for t in (1.0, self.temperature))
        self.rest[rows] = np.where(finite[:, None], np.stack([at_one, at_temperature], axis=1), np.nan)

    def take(self, rows: NDArray[np.integer[Any]], scratch: Scratch) -> TopClasses:
        """Some rows, in any order, in memory."""
        return self._of(*(scratch.take(array, rows) for array in self.arrays.values()))

    def between(self, start: int, stop: int) -> TopClasses:
        """A run of rows, not copied."""
        return self._of(*(array[start:stop] for array in self.arrays.values()))

    def copy(self, scratch: Scratch, *, more: TopClasses | None = None) -> TopClasses:
        """The same rows, which can be changed by themselves, with the rows of another behind them."""
        longer = 0 if more is None else len(more)
        found = self.empty(len(self) + longer, self.n_classes, self.temperature, scratch, kept=self.values.shape[1])
        for name, array in self.arrays.items():
            for some in scratch.slabs(len(self), 2 * array[:1].nbytes):
                found.arrays[name][some] = array[some]
            if more is not None:
                found.arrays[name][len(self) :] = more.arrays[name]
        return found

    def swap(self, rows: NDArray[np.integer[Any]], first: NDArray[np.integer[Any]], second: Any) -> None:
        """Two classes trade their logits, in each of these rows (`[M]`, as are the classes)."""
        classes = self.classes[rows]
        is_first, is_second = (classes == np.asarray(each)[:, None] for each in (first, second))
        swapped = np.where(is_first, np.asarray(second)[:, None], classes)
        self.classes[rows] = np.where(is_second, np.asarray(first)[:, None], swapped)

    def say(self, row: int, label: int, of_label: float, of_others: float) -> None:
        """One row by hand: a logit for one class, another for all others."""
        self.values[row], self.rest[row] = of_others, of_others
        place = int(np.argmax(self.classes[row] == label))
        self.classes[row, place] = label
        self.values[row, place] = of_label

    def named(self, order: NDArray[np.integer[Any]]) -> None:
        """Class c becomes `order[c]`, in place."""
        self.classes[:] = order.astype(self.classes.dtype)[self.classes]

    def _of(self, values: NDArray[Any], classes: NDArray[Any], rest: NDArray[Any]) -> TopClasses:
        return replace(self, values=values, classes=classes, rest=rest)

    def _whole(self, values: NDArray[Any], classes: NDArray[Any], rest: NDArray[Any]) -> NDArray[np.float32]:
        found = np.empty((len(values), self.n_classes), np.float32)
        found[:] = rest[:, int(self.softened), None]
        np.put_along_axis(found, classes.astype(np.int64), values, axis=1)
        return found


Logits = NDArray[np.float32] | TopClasses
"""Logits of N rows over C classes, whole or not: both have a shape and are read slab by slab."""


def empty_logits(n_rows: int, n_classes: int, temperature: float | None, scratch: Scratch) -> Logits:
    """Room for N rows, kept by their largest classes where a `softening` says so."""
    if temperature is None:
        whole: NDArray[np.float32] = scratch.empty((n_rows, n_classes), np.float32)
        return whole
    return TopClasses.empty(n_rows, n_classes, temperature, scratch)


def taken(logits: Logits, rows: NDArray[np.integer[Any]], scratch: Scratch) -> NDArray[np.float32]:
    """Whole logits `[M, C]` of some rows, in any order."""
    if isinstance(logits, TopClasses):
        return logits.take(rows, scratch)[:]
    some: NDArray[np.float32] = scratch.take(logits, rows)
    return some


def at_temperature(logits: Logits) -> Logits:
    """For the loss, which softens them: see `TopClasses.at_temperature`."""
    return logits.at_temperature() if isinstance(logits, TopClasses) else logits


def class_dtype(n_classes: int) -> np.dtype[Any]:
    """The narrowest that `rows` of a file can hold."""
    return np.dtype(np.int16 if n_classes <= np.iinfo(np.int16).max + 1 else np.int32)


def _alike(others: NDArray[np.float32], temperature: float, count: int) -> NDArray[np.float64]:
    """The logit that `count` classes must have to weigh what these do together, -inf being none of them."""
    if count == 0:
        return np.zeros(len(others))
    highest = others.max(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # of what is not finite, which the caller tells
        mass = np.exp((others - highest[:, None]) / np.float32(temperature)).sum(axis=1, dtype=np.float64)
        return np.asarray(highest + temperature * np.log(mass / count))

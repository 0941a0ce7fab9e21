"""What one teacher says about the rows of a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets import DistillationData, Rows
from kdaif.scratch import Scratch
from kdaif.students import Student
from kdaif.top_classes import Logits, TopClasses, empty_logits

Whole = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Asked:
    """Logits `[N, C]` that are said anew wherever they are read, for what is too much to keep."""

    shape: tuple[int, int]
    say: Callable[[slice], Whole]

    def __getitem__(self, rows: slice) -> Whole:
        return self.say(rows)


@dataclass(frozen=True, eq=False)
class TeacherOutputs:
    """Logits at temperature 1, float32 ``[N, C]`` in the order of the job's class names.

    Attributes:
        unlabeled: of U; by their largest where there are very many classes.
        validation: of V; None where the teacher was not or cannot be asked.
        test: of the test rows; likewise.
        external: of the external rows; likewise, or where there are none.
        labeled: of L, each row by a teacher that was trained without it; None where there is no such teacher.
        network: the one network that gave all of this, in eval mode; None where it was none or several.
    """

    unlabeled: Logits
    validation: Whole | None = None
    test: Whole | None = None
    external: Whole | None = None
    labeled: Whole | None = None
    network: Student | None = None

    @classmethod
    def of_parts(
        cls, said: Mapping[str, Logits], *, labeled: Whole | None = None, network: Student | None = None
    ) -> TeacherOutputs:
        """From what was said by part, as `asked_parts` names them."""
        return cls(
            unlabeled=said["unlabeled"],
            validation=whole(said["validation"]),
            test=whole(said["test"]),
            external=whole(said["external"]) if "external" in said else None,
            labeled=labeled,
            network=network,
        )


def asked_parts(data: DistillationData) -> dict[str, Rows]:
    """The parts that a teacher which can be run is asked about, by the name of their field in `TeacherOutputs`."""
    parts = {"unlabeled": data.unlabeled, "validation": data.validation, "test": data.test}
    return parts if data.external is None else {**parts, "external": data.external}


def whole(logits: Logits) -> Whole:
    """Of every class."""
    return logits[:] if isinstance(logits, TopClasses) else logits


def split_parts(stacked: Whole, parts: Mapping[str, Rows]) -> dict[str, Whole]:
    """Rows that were stacked in the order of ``parts``, apart again: views."""
    ends = np.cumsum([len(rows) for rows in parts.values()])
    return dict(zip(parts, np.split(stacked, ends[:-1]), strict=True))


def ids_at(places: NDArray[np.int64], parts: Mapping[str, Rows]) -> list[str]:
    """The ids of some of the rows that were stacked in the order of ``parts``."""
    ids = [(rows.ids, start) for rows, start in zip(parts.values(), _starts(parts), strict=True)]
    return [
        next(str(of_part[place - start]) for of_part, start in reversed(ids) if place >= start)
        for place in places.tolist()
    ]


def _starts(parts: Mapping[str, Rows]) -> list[int]:
    return [0, *np.cumsum([len(rows) for rows in parts.values()])[:-1].tolist()]


def mean_of_probabilities(
    members: Sequence[Logits | Asked],
    weights: NDArray[np.float64] | None = None,
    scratch: Scratch | None = None,
    temperature: float | None = None,
) -> Logits:
    """``log sum_m w_m softmax(z_m)``, float32 ``[N, C]``, of M logits; ``weights`` sum to 1, by default equal.

    With a temperature, that of `softening`, the mean is kept by its largest classes.
    """
    room = Scratch() if scratch is None else scratch
    shares = np.full(len(members), 1 / len(members)) if weights is None else weights
    n_rows, n_classes = members[0].shape
    found = empty_logits(n_rows, n_classes, temperature, room)
    for rows in room.slabs(n_rows, 5 * 8 * n_classes * len(members)):
        logits = np.stack([member[rows] for member in members]).astype(np.float64)
        with np.errstate(divide="ignore"):
            logarithms = log_softmax(logits) + np.log(shares)[:, None, None]
        found[rows] = np.logaddexp.reduce(logarithms, axis=0).astype(np.float32)
    return found


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found

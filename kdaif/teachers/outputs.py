"""What one teacher says about the rows of a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets import DistillationData, Rows
from kdaif.students import Student

Logits = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TeacherOutputs:
    """Logits at temperature 1, float32 ``[N, C]`` in the order of the job's class names.

    Attributes:
        unlabeled: of U.
        validation: of V; None where the teacher was not or cannot be asked.
        test: of the test rows; likewise.
        external: of the external rows; likewise, or where there are none.
        labeled: of L, each row by a teacher that was trained without it; None where there is no such teacher.
        network: the one network that gave all of this, in eval mode; None where it was none or several.
    """

    unlabeled: Logits
    validation: Logits | None = None
    test: Logits | None = None
    external: Logits | None = None
    labeled: Logits | None = None
    network: Student | None = None

    @classmethod
    def of_parts(
        cls, said: Mapping[str, Logits], *, labeled: Logits | None = None, network: Student | None = None
    ) -> TeacherOutputs:
        """From what was said by part, as `asked_parts` names them."""
        return cls(
            unlabeled=said["unlabeled"],
            validation=said["validation"],
            test=said["test"],
            external=said.get("external"),
            labeled=labeled,
            network=network,
        )


def asked_parts(data: DistillationData) -> dict[str, Rows]:
    """The parts that a teacher which can be run is asked about, by the name of their field in `TeacherOutputs`."""
    parts = {"unlabeled": data.unlabeled, "validation": data.validation, "test": data.test}
    return parts if data.external is None else {**parts, "external": data.external}


def split_parts(stacked: Logits, parts: Mapping[str, Rows]) -> dict[str, Logits]:
    """Rows that were stacked in the order of ``parts``, apart again."""
    ends = np.cumsum([len(rows) for rows in parts.values()])
    return dict(zip(parts, np.split(stacked, ends[:-1]), strict=True))


def mean_of_probabilities(members: Sequence[Logits], weights: NDArray[np.float64] | None = None) -> Logits:
    """``log sum_m w_m softmax(z_m)``, float32 ``[N, C]``, of M logits; ``weights`` sum to 1, by default equal."""
    logits = np.stack(members).astype(np.float64)
    shares = np.full(len(members), 1 / len(members)) if weights is None else weights
    with np.errstate(divide="ignore"):
        logarithms = log_softmax(logits) + np.log(shares)[:, None, None]
    found: Logits = np.logaddexp.reduce(logarithms, axis=0).astype(np.float32)
    return found


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found

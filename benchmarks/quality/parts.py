"""From all rows of a data set to the parts of a job: few labels, many unlabelled rows, the rest for the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.records import PreflightReport
from kdaif.records.spec import Splits

# What the product reads a probability of 0 as.
_SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True)
class Sizes:
    """Rows per part. `validation` is shared between the score set and the gate set as `spec.splits` says."""

    labeled: int
    validation: int
    unlabeled: int
    test: int


@dataclass(frozen=True, eq=False)
class Cut:
    """Row numbers of each part, int64."""

    labeled: NDArray[np.int64]
    validation: NDArray[np.int64]
    gate: NDArray[np.int64]
    unlabeled: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def seen(self) -> NDArray[np.int64]:
        """All rows but the test's: what a preprocessing may be fitted on."""
        return np.concatenate([self.labeled, self.validation, self.gate, self.unlabeled])


def cut(n: int, sizes: Sizes, seed: int, *, taught: NDArray[np.bool_] | None = None) -> Cut:
    """Draws the parts, disjoint.

    Args:
        n: rows of the data set.
        sizes: of the parts; the unlabelled part takes what is left, at most its size.
        seed: of the draw.
        taught: bool `[n]`, rows for which the teacher has a word; only these can be unlabelled rows.
    """
    order = np.random.default_rng((seed, 11)).permutation(n)
    ends = np.cumsum([sizes.test, sizes.labeled, sizes.validation])
    test, labeled, held_out, rest = np.split(order, ends)
    if taught is not None:
        rest = rest[taught[rest]]
    n_gate = round(Splits().gate_share * len(held_out))
    return Cut(labeled, held_out[n_gate:], held_out[:n_gate], rest[: sizes.unlabeled], test)


def assemble(
    parts: Cut,
    features: NDArray[Any],
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    *,
    said: NDArray[np.int64] | None = None,
    groups: Mapping[str, NDArray[Any]] | None = None,
) -> DistillationData:
    """The job's rows.

    Args:
        parts: row numbers.
        features: float32 `[n, D]` or uint8 `[n, H, W, C]`.
        labels: true class codes `[n]`.
        class_names: C names.
        said: what a teacher outside the job says, class codes `[n]`, -1 where it is silent; None when the job trains
            its teacher.
        groups: columns of group names `[n]`.
    """

    def rows(at: NDArray[np.int64], *, human: bool) -> Rows:
        of_groups = {name: column[at] for name, column in (groups or {}).items()}
        ids = at.astype(np.int64)
        if human:
            return Rows(ids, features[at], labels[at], groups=of_groups)
        teacher = None if said is None else one_hot_logits(said[at], len(class_names))
        return Rows(ids, features[at], labels[:0], truth=labels[at], teacher_logits=teacher, groups=of_groups)

    image = features.dtype == np.uint8
    return DistillationData(
        class_names=class_names,
        signature=InputSignature("image" if image else "numeric", features.shape[1:], ("features",)),
        labeled=rows(parts.labeled, human=True),
        validation=rows(parts.validation, human=True),
        gate=rows(parts.gate, human=True),
        unlabeled=rows(np.sort(parts.unlabeled), human=False),
        test=rows(parts.test, human=True),
        report=PreflightReport(),
        test_is_given=True,
    )


def one_hot_logits(codes: NDArray[np.int64], n_classes: int) -> NDArray[np.float32]:
    """Logarithms of one-hot probabilities, float32 `[N, C]`, zeros read as the product reads them."""
    probabilities = np.eye(n_classes)[codes]
    return np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY)).astype(np.float32)

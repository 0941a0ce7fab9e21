"""The values that `prepare` hands on: rows as numpy arrays, and the shape of one input row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets.strings import Strings
from kdaif.records import PreflightReport
from kdaif.top_classes import Logits


@dataclass(frozen=True)
class InputSignature:
    """What one input row looks like.

    Attributes:
        kind: ``numeric`` rows are float32, ``image`` rows are uint8, ``text`` rows are int32 word pieces.
        shape: without the row axis: ``(D,)``, ``(H, W, C)`` or ``(max_tokens,)``.
        columns: the columns that hold the input, in input order; one name for ``features``, ``image`` and ``text``.
        categories: of a numeric row, by column: the names of its categories, whose code is their position plus 1;
            empty for a column of numbers, and empty altogether where no column has any. Code 0 is every other value.
        nullable: of a numeric row, by column: whether a null is a value. It then is NaN in a column of numbers, and
            code 0 in one of categories. Empty where no column is nullable.
        tokenizer: of a text row: the JSON of its ``tokenizers.Tokenizer``. Piece 0 is padding.
    """

    kind: Literal["numeric", "image", "text"]
    shape: tuple[int, ...]
    columns: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...] = ()
    nullable: tuple[bool, ...] = ()
    tokenizer: str = ""


@dataclass(frozen=True, eq=False)
class Rows:
    """N rows of one part. What is wide may be a mapped file of a `kdaif.scratch.Scratch`.

    Attributes:
        ids: [N] int64, or `Strings`.
        features: float32 [N, D], finite but for nulls of nullable columns; uint8 [N, H, W, C]; int32 [N, max_tokens].
        labels: int64 [N], positions in ``class_names``; empty for the unlabelled part.
        truth: int64 [N], -1 where unknown; only for the unlabelled part, only for audit, never trained on.
        teacher_logits: float32 [N, C] in the order of ``class_names``, probabilities as their logarithm, of very many
            classes the largest; only for the unlabelled part of a job whose teacher is a column.
        groups: object [N] of str (None where null) by column name. Equal names are one object.
        weight_override: float64 [N], the weight that a person gave a row, NaN where none did; only for the unlabelled
            part, and None where no row has one.
        texts: [N], the raw strings of text rows; None for other kinds.
        member_logits: of an ensemble's members that are columns, by position: as ``teacher_logits``. In V only for an
            ensemble that is weighed on it.
    """

    ids: NDArray[np.int64] | Strings
    features: NDArray[Any]
    labels: NDArray[np.int64]
    truth: NDArray[np.int64] | None = None
    teacher_logits: Logits | None = None
    groups: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    weight_override: NDArray[np.float64] | None = None
    texts: Strings | None = None
    member_logits: Mapping[int, Logits] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class DistillationData:
    """All rows of one job, checked. No row content is in two parts.

    Attributes:
        class_names: C names; every label, truth and teacher column is bound to them by name.
        signature: of every row.
        labeled: trains with hard labels.
        validation: influence is measured on it.
        gate: has no say in the weights; the temperature is fitted on it.
        unlabeled: trains with the teacher's soft targets.
        test: touched only by the evaluation.
        report: what was found on the way; no errors.
        test_is_given: False when ``test`` was split off the labelled set.
        external: a second, outer test set; None where the job gives none. Touched only by the evaluation.
    """

    class_names: tuple[str, ...]
    signature: InputSignature
    labeled: Rows
    validation: Rows
    gate: Rows
    unlabeled: Rows
    test: Rows
    report: PreflightReport
    test_is_given: bool
    external: Rows | None = None

"""Tables of people, with the groups they belong to: Adult and German credit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.preprocessing import OneHotEncoder

from benchmarks.quality.parts import Sizes, assemble, cut
from benchmarks.quality.sets.folder import table
from kdaif.datasets import DistillationData


def adult(seed: int) -> DistillationData:
    """Does a person earn over 50,000 dollars a year (UCI)? Groups: sex, race."""
    people = table("adult/train.parquet")
    sizes = Sizes(labeled=100, validation=100, unlabeled=1500, test=4000)
    return _people(people, "income_gt_50k", ("no", "yes"), ("sex", "race"), sizes, seed)


def german_credit(seed: int) -> DistillationData:
    """Is a loan a bad risk (UCI Statlog)? Groups: sex, foreign_worker."""
    people = table("german_credit/german_credit.parquet")
    sizes = Sizes(labeled=100, validation=100, unlabeled=500, test=300)
    return _people(people, "bad_credit", ("good", "bad"), ("sex", "foreign_worker"), sizes, seed)


def _people(
    people: pa.Table, label: str, names: tuple[str, str], groups: tuple[str, ...], sizes: Sizes, seed: int
) -> DistillationData:
    labels = people[label].to_numpy().astype(np.int64)
    parts = cut(len(labels), sizes, seed)
    numeric = [column for column in people.column_names if column != label and pa.types.is_integer(people[column].type)]
    named = [column for column in people.column_names if column != label and column not in numeric]
    words = np.stack([_words(people, column) for column in named], axis=1)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32).fit(words[parts.seen])
    numbers = np.stack([_roughly_linear(people[column].to_numpy()) for column in numeric], axis=1)
    features = np.concatenate([numbers, encoder.transform(words)], axis=1).astype(np.float32)
    return assemble(parts, features, labels, names, groups={column: _words(people, column) for column in groups})


def _words(people: pa.Table, column: str) -> NDArray[Any]:
    return np.array([word if word is not None else "unknown" for word in people[column].to_pylist()], dtype=object)


def _roughly_linear(values: NDArray[Any]) -> NDArray[np.float64]:
    """Amounts of money span powers of ten; their logarithm does not."""
    wide = values.astype(np.float64)
    return np.log1p(wide) if wide.max() > 1000 else wide

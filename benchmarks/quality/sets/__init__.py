"""Data sets, each one function from a seed to the rows of a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.quality.sets import cifar10n, pictures, sentences, tabular, weak_text
from kdaif.datasets import DistillationData


@dataclass(frozen=True)
class DataSet:
    """One data set of the benchmark.

    Attributes:
        load: from a seed, which fixes the split.
        kind: ``trained`` lets the job train a teacher, whose targets are then corrupted as well; ``weak`` has real
            wrong labels, and is taken as it is; ``minority`` checks that a class cut to a quarter keeps its weight.
        labels_of: who labelled U: ``people``, ``rules``, or a ``model``.
    """

    load: Callable[[int], DistillationData]
    kind: Literal["trained", "weak", "minority"]
    labels_of: Literal["people", "rules", "model"] = "model"


SETS: Mapping[str, DataSet] = {
    "digits": DataSet(pictures.digits, "trained"),
    "fashion": DataSet(pictures.fashion, "trained"),
    "banking77": DataSet(sentences.banking77, "trained"),
    "sst2": DataSet(sentences.sst2, "trained"),
    "adult": DataSet(tabular.adult, "trained"),
    "german_credit": DataSet(tabular.german_credit, "trained"),
    "trec": DataSet(weak_text.trec, "weak", "rules"),
    "sms": DataSet(weak_text.sms, "weak", "rules"),
    "youtube": DataSet(weak_text.youtube, "weak", "rules"),
    "cifar10n_worse": DataSet(cifar10n.worse, "weak", "people"),
    "cifar10n_random": DataSet(cifar10n.random_person, "weak", "people"),
    "cifar10_resnet56": DataSet(cifar10n.resnet56, "weak"),
    "digits_minority": DataSet(pictures.digits_minority, "minority"),
    "fashion_minority": DataSet(pictures.fashion_minority, "minority"),
}

"""Texts whose teacher is a majority of real labelling rules: TREC questions, SMS spam, YouTube spam."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.quality.parts import Sizes, assemble, cut
from benchmarks.quality.sets.folder import table
from kdaif.datasets import DistillationData

_DIMENSIONS = 100


def trec(seed: int) -> DistillationData:
    """Six kinds of questions; half of the rules' votes are wrong."""
    return _voted("trec_rules/trec_rules.parquet", Sizes(labeled=100, validation=100, unlabeled=2000, test=1500), seed)


def sms(seed: int) -> DistillationData:
    """Spam or not; the rules speak on two fifths of the messages and are wrong on 3 %."""
    file = "sms_spam_rules/sms_spam_rules.parquet"
    return _voted(file, Sizes(labeled=100, validation=100, unlabeled=2000, test=1500), seed)


def youtube(seed: int) -> DistillationData:
    """Comments, spam or not; a fifth of the votes is wrong."""
    file = "youtube_spam_lf/youtube_spam_lf.parquet"
    return _voted(file, Sizes(labeled=100, validation=100, unlabeled=2000, test=500), seed)


def _voted(file: str, sizes: Sizes, seed: int) -> DistillationData:
    rows = table(file, ["text", "label", "label_name", "weak_majority"]).to_pydict()
    first = list({text: at for at, text in reversed(list(enumerate(rows["text"])))}.values())
    chosen = np.sort(np.array(first))  # a text that comes twice would be in two parts
    texts = [rows["text"][at] for at in chosen]
    labels = np.array(rows["label"], dtype=np.int64)[chosen]
    said = np.array(rows["weak_majority"], dtype=np.int64)[chosen]
    names = dict(zip(rows["label"], rows["label_name"], strict=True))
    parts = cut(len(labels), sizes, seed, taught=said >= 0)
    features = reduced_tf_idf(texts, parts.seen, seed)
    return assemble(parts, features, labels, tuple(str(names[code]) for code in sorted(names)), said=said)


def reduced_tf_idf(texts: Sequence[str], fitted_on: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """Words and pairs of words, weighed by tf-idf and reduced to 100 dimensions, `[n, 100]`.

    Args:
        texts: n of them.
        fitted_on: row numbers that vocabulary, frequencies and directions come from; no test rows.
        seed: of the randomised decomposition.
    """
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"\S+")  # noqa: S106
    words.fit([texts[row] for row in fitted_on])
    matrix = words.transform(texts)
    directions = TruncatedSVD(_DIMENSIONS, random_state=seed).fit(matrix[fitted_on])
    reduced: NDArray[np.float32] = directions.transform(matrix).astype(np.float32)
    return reduced

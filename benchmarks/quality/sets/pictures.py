"""Pictures: scikit-learn's digits and a cut of Fashion-MNIST. The teacher is trained on the labelled rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from benchmarks.quality.parts import Cut, Sizes, assemble, cut
from benchmarks.quality.sets.folder import data_file
from kdaif.datasets import DistillationData

_KEPT_OF_MINORITY = 0.25


def digits(seed: int) -> DistillationData:
    """1,797 scans of 8 x 8 pixels (UCI, in scikit-learn)."""
    images, labels = _digits()
    return assemble(cut(len(labels), _DIGITS, seed), images, labels, _names(labels))


def digits_minority(seed: int) -> DistillationData:
    """Digits with three quarters of one class gone from every part that is trained on or scored with."""
    images, labels = _digits()
    parts = _thinned(cut(len(labels), _DIGITS, seed), labels, minority_class(seed, 10), seed)
    return assemble(parts, images, labels, _names(labels))


def fashion(seed: int) -> DistillationData:
    """7,000 pictures of clothes, 28 x 28 (Zalando, MIT)."""
    images, labels = _fashion()
    return assemble(cut(len(labels), _FASHION, seed), images, labels, _names(labels))


def fashion_minority(seed: int) -> DistillationData:
    """The same with one class cut to a quarter."""
    images, labels = _fashion()
    parts = _thinned(cut(len(labels), _FASHION, seed), labels, minority_class(seed, 10), seed)
    return assemble(parts, images, labels, _names(labels))


def minority_class(seed: int, n_classes: int) -> int:
    """Which class the minority check cuts: another one for every seed."""
    return (3 * seed + 1) % n_classes


_DIGITS = Sizes(labeled=100, validation=100, unlabeled=1000, test=597)
_FASHION = Sizes(labeled=200, validation=100, unlabeled=1500, test=2000)


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    bunch = load_digits()
    images: NDArray[np.uint8] = (bunch.images * 255 / 16).astype(np.uint8)[..., None]
    return images, bunch.target.astype(np.int64)


def _fashion() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    with np.load(data_file("fashion_mnist_5k/fashion_mnist_5k.npz")) as arrays:
        images = np.concatenate([arrays["x_train"], arrays["x_test"]])[..., None]
        return images, np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int64)


def _names(labels: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(str(code) for code in range(int(labels.max()) + 1))


def _thinned(parts: Cut, labels: NDArray[np.int64], minority: int, seed: int) -> Cut:
    generator = np.random.default_rng((seed, 12))

    def keep(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        kept: NDArray[np.int64] = rows[(labels[rows] != minority) | (generator.random(len(rows)) < _KEPT_OF_MINORITY)]
        return kept

    return Cut(keep(parts.labeled), keep(parts.validation), keep(parts.gate), keep(parts.unlabeled), parts.test)

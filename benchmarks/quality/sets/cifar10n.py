"""CIFAR-10 with a teacher that is a careless person (CIFAR-10N, Wei et al. 2022) or a network.

Pictures are features here, sized for two cores; the run on the pixels themselves is `benchmarks.cifar_pixels`.
"""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from benchmarks.quality.parts import Sizes, assemble, cut
from benchmarks.quality.sets.folder import data_file, table
from benchmarks.record import RESULTS
from kdaif.datasets import DistillationData

_POOL = 6000
_SIZES = Sizes(labeled=200, validation=100, unlabeled=2000, test=2500)
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FILTERS, _PATCH, _DIMENSIONS = 256, 6, 128


def worse(seed: int) -> DistillationData:
    """The worst of three people: 40 % wrong."""
    return _labelled_by("worse_label", seed)


def random_person(seed: int) -> DistillationData:
    """One person of three: 17 % wrong."""
    return _labelled_by("random_label1", seed)


def resnet56(seed: int) -> DistillationData:
    """The logits of a ResNet-56 that learned from other pictures: 17 % wrong on these, which are compressed harder."""
    rows = table("cifar10/test.parquet", ["jpeg", "label"])
    with np.load(data_file("cifar10/test_teacher_outputs.npz")) as outputs:
        logits = outputs["resnet56_logits"]
    pool = np.sort(np.random.default_rng(0).permutation(rows.num_rows)[:_POOL])
    labels = rows["label"].to_numpy().astype(np.int64)[pool]
    features = _features([bytes(jpeg) for jpeg in rows["jpeg"].take(pool).to_pylist()], "features_cifar10_test")
    parts = cut(len(labels), _SIZES, seed)
    data = assemble(parts, _reduced(features, parts.seen), labels, _CLASSES)
    of_teacher = logits[pool][data.unlabeled.ids].astype(np.float32)
    return replace(data, unlabeled=replace(data.unlabeled, teacher_logits=of_teacher))


def _labelled_by(column: str, seed: int) -> DistillationData:
    rows = table("cifar10/train.parquet", ["jpeg", "label", column])
    pool = np.sort(np.random.default_rng(0).permutation(rows.num_rows)[:_POOL])
    rows = rows.take(pool)
    labels, said = (rows[name].to_numpy().astype(np.int64) for name in ("label", column))
    features = _features([bytes(jpeg) for jpeg in rows["jpeg"].to_pylist()], "features_cifar10")
    parts = cut(len(labels), _SIZES, seed)
    return assemble(parts, _reduced(features, parts.seen), labels, _CLASSES, said=said)


def _features(jpegs: list[bytes], kept_as: str) -> NDArray[np.float32]:
    """Answers of random whitened patches, pooled over quadrants (Coates, Lee and Ng 2011), `[n, 8 x 256]`.

    The patches are drawn from the pictures without their labels, once for all seeds.
    """
    file = RESULTS / "quality_cells" / f"{kept_as}.npy"
    if file.is_file():
        kept: NDArray[np.float32] = np.load(file)
        return kept
    images = np.stack([np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")) for jpeg in jpegs])
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    pictures = (pictures - pictures.mean((1, 2, 3), keepdim=True)) / pictures.std((1, 2, 3), keepdim=True)
    filters = _whitened_patches(pictures)
    answers = []
    for batch in torch.split(pictures, 100):
        response = functional.conv2d(batch, filters)
        rectified = torch.cat([response.clamp_min(0), (-response).clamp_min(0)], dim=1)
        answers.append(functional.adaptive_avg_pool2d(rectified, 2).flatten(1))
    features: NDArray[np.float32] = torch.cat(answers).numpy()
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished.npy")
    np.save(unfinished, features)
    unfinished.rename(file)
    return features


def _whitened_patches(pictures: torch.Tensor) -> torch.Tensor:
    """Filters `[256, 3, 6, 6]` of unit length."""
    generator = np.random.default_rng(0)
    side = pictures.shape[2] - _PATCH + 1
    at = [(generator.integers(len(pictures)), *generator.integers(side, size=2)) for _ in range(20_000)]
    patches = torch.stack([pictures[n, :, y : y + _PATCH, x : x + _PATCH].flatten() for n, y, x in at])
    patches = patches - patches.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    whitening = vectors @ torch.diag((values + 0.05).rsqrt()) @ vectors.T
    chosen = functional.normalize(patches[:_FILTERS] @ whitening, dim=1)
    filters: torch.Tensor = (chosen @ whitening).view(_FILTERS, 3, _PATCH, _PATCH)
    return filters


def _reduced(features: NDArray[np.float32], fitted_on: NDArray[np.int64]) -> NDArray[np.float32]:
    """The 128 directions of largest variance, `[n, 128]`, found without test rows."""
    scaled = (features - features[fitted_on].mean(0)) / (features[fitted_on].std(0) + 1e-6)
    _, vectors = np.linalg.eigh(np.cov(scaled[fitted_on].T))
    reduced: NDArray[np.float32] = (scaled @ vectors[:, -_DIMENSIONS:]).astype(np.float32)
    return reduced

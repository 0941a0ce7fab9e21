"""scikit-learn's handwritten digits, cut into the parts of a job."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from kdaif_client import Client, Dataset
from numpy.typing import NDArray
from sklearn.datasets import load_digits


@dataclass(frozen=True)
class Digits:
    """Data sets by role, and the test rows for a check of our own."""

    labeled: Dataset
    validation: Dataset
    unlabeled: Dataset
    test: Dataset
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    def roles(self) -> dict[str, Dataset]:
        return {name: getattr(self, name) for name in ("labeled", "validation", "unlabeled", "test")}


def images_table(prefix: str, images: NDArray[np.uint8], **columns: NDArray[np.int64]) -> pa.Table:
    """A table with ``id``, ``image`` (uint8 8 x 8 x 1) and further columns."""
    ids = pa.array([f"{prefix}-{index:05d}" for index in range(len(images))])
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(images))
    return pa.table({"id": ids, "image": tensor, **{name: pa.array(values) for name, values in columns.items()}})


def upload_digits(client: Client, *, pool: int = 400) -> Digits:
    """100 labelled, 100 validation, ``pool`` unlabelled rows with their truth, and 300 test rows."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    images = (bunch.images[order] * 255 / 16).astype(np.uint8)[..., None]
    labels = bunch.target[order].astype(np.int64)
    test = slice(200 + pool, 500 + pool)
    return Digits(
        labeled=client.upload_dataset(images_table("l", images[:100], label=labels[:100]), name="labeled"),
        validation=client.upload_dataset(images_table("v", images[100:200], label=labels[100:200]), name="validation"),
        unlabeled=client.upload_dataset(
            images_table("u", images[200 : 200 + pool], truth=labels[200 : 200 + pool]), name="pool"
        ),
        test=client.upload_dataset(images_table("t", images[test], label=labels[test]), name="test"),
        test_images=images[test],
        test_labels=labels[test],
    )

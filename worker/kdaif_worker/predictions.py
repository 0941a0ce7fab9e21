"""What the shipped student says of each test row, for whoever compares it with another student."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets import Rows
from kdaif.records.predictions import RowPredictions, row_hashes
from kdaif.store import BlobStore, layout
from kdaif_worker.messages import Assignment


def publish_predictions(
    assignment: Assignment, test: Rows, logits: NDArray[Any], class_names: tuple[str, ...], blobs: BlobStore
) -> None:
    """Writes them beside the bundle.

    Args:
        assignment: of the attempt.
        test: the test rows, N of them.
        logits: of the shipped student, float `[N, C]`.
        class_names: the C names.
        blobs: where to.

    Raises:
        UnavailableError: the store is full or does not answer.
    """
    predictions = RowPredictions(
        rows=row_hashes(test.ids.tolist()),
        labels=test.labels.astype(np.int32),
        predicted=logits.argmax(axis=1).astype(np.int32),
        class_names=class_names,
        groups=test.groups,
    )
    path = layout.test_predictions(assignment.tenant, assignment.job_id, assignment.attempt)
    blobs.put_bytes(path, predictions.to_parquet())

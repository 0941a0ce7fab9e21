"""Embeddings that were made elsewhere, with the soft targets of a model that was run elsewhere.

    python -m examples.embeddings

Here both are made up: four clouds of points, and a model that is wrong about two fifths of the pool.
"""

from __future__ import annotations

import numpy as np
from kdaif_client import ColumnTeacher, Training

from examples.example_data import connected, tell

CLASSES = np.array(["north", "east", "south", "west"])
ROWS = {"labelled": 200, "pool": 2000, "test": 1000}


def main() -> None:
    """Entry point."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(4, 32)).astype(np.float32)
    parts = {}
    for part, rows in ROWS.items():
        codes = generator.integers(0, 4, rows)
        points = centres[codes] + generator.normal(scale=1.5, size=(rows, 32)).astype(np.float32)
        parts[part] = {"features": points, "label": CLASSES[codes]}
        if part == "pool":
            said = np.where(generator.random(rows) < 0.4, (codes + 1) % 4, codes)
            parts[part] = {"features": points, "teacher_probabilities": np.eye(4, dtype=np.float32)[said] * 0.8 + 0.05}

    with connected() as kdaif:
        datasets = {part: kdaif.upload_dataset(columns, name=part) for part, columns in parts.items()}
        job = kdaif.submit(
            labeled=datasets["labelled"],
            unlabeled=datasets["pool"],
            test=datasets["test"],
            teacher=ColumnTeacher("probabilities", tuple(CLASSES)),
            training=Training(rounds=4, seeds=1),
        ).wait()
        tell(job)


if __name__ == "__main__":
    main()

"""A program of a user's that has OpenTelemetry set up: uploads, submits, waits. Arguments: target, collector."""

from __future__ import annotations

import sys

import numpy as np
from kdaif_client import Client, Training

from kdaif.telemetry import configure_tracing, flush_tracing, span


def main() -> None:
    target, collector = sys.argv[1:]
    configure_tracing("program", collector)
    random = np.random.default_rng(0)
    features = random.normal(size=(240, 4)).astype(np.float32)
    labels = np.where(features[:, 0] > 0, "cat", "dog")
    with Client(target) as client, span("nightly"):
        labeled = client.upload_dataset({"features": features, "label": labels}, name="labeled")
        unlabeled = client.upload_dataset({"features": features[:120] + 0.01}, name="pool")
        job = client.submit(labeled, unlabeled, training=Training(rounds=2, epochs_per_round=1, seeds=1))
        job.wait(timeout_s=90)
    flush_tracing()
    sys.stdout.write(job.name)


if __name__ == "__main__":
    main()

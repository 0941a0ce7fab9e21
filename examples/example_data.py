"""What the examples share: the folder of the data, and a stack to talk to."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kdaif_client import Client, Job

from examples.local_stack import local_stack


def data_folder() -> Path:
    """The folder that ``KDAIF_DATA`` names."""
    folder = os.environ.get("KDAIF_DATA")
    if not folder:
        sys.exit(
            "KDAIF_DATA is not set. It names a folder of public data sets, one folder each: adult, banking77, cifar10, "
            "models_cifar10_onnx, youtube_spam_lf; this example says in its code which files it reads, as Parquet. "
            "`python -m examples.embeddings` needs no data."
        )
    return Path(folder)


@contextlib.contextmanager
def connected() -> Iterator[Client]:
    """A client of the server that ``KDAIF_TARGET`` names, else of a stack of its own that ends with the block."""
    with contextlib.ExitStack() as stack:
        target = os.environ.get("KDAIF_TARGET")
        if not target:
            target = stack.enter_context(local_stack(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        yield stack.enter_context(Client(target))


def tell(job: Job) -> None:
    """The verdict, and the accuracy of each arm."""
    for arm in job.result.arms:
        print(f"{arm.arm:12} {100 * arm.accuracy:5.1f} %")
    print(job.result.verdict)

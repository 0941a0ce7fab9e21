"""Starts the whole stack on this machine, and ends it with the block."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from kdaif_client import errors, testing


@contextlib.contextmanager
def local_stack(data_dir: Path) -> Iterator[str]:
    """Yields the target to connect to. Its log is ``stack.log`` beside the data."""
    with contextlib.ExitStack() as ending:
        try:
            stack = ending.enter_context(testing.local_stack(data_dir, options=()))
        except errors.KdaifClientError as error:
            sys.exit(str(error))
        yield stack.target

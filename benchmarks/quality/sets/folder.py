"""The folder of data that the product does not ship, named by the environment variable KDAIF_DATA."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def data_file(path: str) -> Path:
    """A file of the folder.

    Raises:
        FileNotFoundError: no folder is named, or it lacks the file.
    """
    folder = os.environ.get("KDAIF_DATA", "")
    if not folder:
        raise FileNotFoundError(f"KDAIF_DATA names no folder with {path}")
    file = Path(folder) / path
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing")
    return file


def table(path: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file of the folder."""
    return pq.read_table(data_file(path), columns=columns)

"""Parquet in, checked rows out: ids unique, classes bound by name, parts disjoint. numpy and pyarrow only."""

from kdaif.datasets.checked import Checked
from kdaif.datasets.parquet import MOST_BYTES, inspect
from kdaif.datasets.prepare import check, preflight, prepare
from kdaif.datasets.rows import DistillationData, InputSignature, Rows
from kdaif.datasets.strings import Strings

__all__ = [
    "MOST_BYTES",
    "Checked",
    "DistillationData",
    "InputSignature",
    "Rows",
    "Strings",
    "check",
    "inspect",
    "preflight",
    "prepare",
]

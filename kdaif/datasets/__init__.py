"""Parquet in, checked rows out: ids unique, classes bound by name, parts disjoint. numpy and pyarrow only."""

from kdaif.datasets.parquet import inspect
from kdaif.datasets.prepare import preflight, prepare
from kdaif.datasets.rows import DistillationData, InputSignature, Rows

__all__ = ["DistillationData", "InputSignature", "Rows", "inspect", "preflight", "prepare"]

"""Parquet in, checked rows out: ids unique, classes bound by name, parts disjoint. numpy and pyarrow only."""

from kdaif.datasets.rows import DistillationData, InputSignature, Rows

__all__ = ["DistillationData", "InputSignature", "Rows"]

"""Tables of the data that is not shipped; tests that need it skip where KDAIF_DATA does not name it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest


def _read(path: str, columns: list[str] | None = None) -> pa.Table:
    folder = os.environ.get("KDAIF_DATA", "")
    if not folder:
        pytest.skip("KDAIF_DATA names no folder of data sets")
    return pq.read_table(Path(folder) / path, columns=columns)


def _named(table: pa.Table, prefix: str) -> pa.Table:
    return table.add_column(0, "id", pa.array([f"{prefix}{row}" for row in range(table.num_rows)]))


def adult(rows: int = 1500) -> dict[str, pa.Table]:
    """Census rows with sex and race as inputs and as groups: labelled, unlabelled and test."""

    def table(path: str, prefix: str) -> pa.Table:
        read = _read(path)
        read = read.rename_columns(["label" if name == "income_gt_50k" else name for name in read.schema.names])
        read = read.append_column("group_sex", read["sex"]).append_column("group_race", read["race"])
        return _named(read, prefix)

    train, test = table("adult/train.parquet", "a"), table("adult/test.parquet", "t")
    return {
        "labeled": train.slice(0, rows),
        "unlabeled": train.slice(rows, rows).drop_columns(["label"]),
        "test": test.slice(0, rows),
    }


def youtube() -> dict[str, pa.Table]:
    """Comments, spam or not: labelled, unlabelled and test. Six texts are in training and test."""
    read = _read("youtube_spam_lf/youtube_spam_lf.parquet", ["text", "label", "split"])
    parts = {name: read.filter(pc.equal(read["split"], name)).drop_columns(["split"]) for name in ("train", "test")}
    return {
        "labeled": _named(parts["train"].slice(0, 400), "l"),
        "unlabeled": _named(parts["train"].slice(400).drop_columns(["label"]), "u"),
        "test": _named(parts["test"], "t"),
    }


def banking(labeled: int = 800, unlabeled: int = 400) -> dict[str, pa.Table]:
    """Questions to a bank of 77 kinds, in an order of no meaning."""
    read = _read("banking77/train.parquet", ["text", "label"])
    order = np.random.default_rng(0).permutation(read.num_rows)[: labeled + unlabeled]
    read = _named(read.take(pa.array(order)), "q")
    return {"labeled": read.slice(0, labeled), "unlabeled": read.slice(labeled).drop_columns(["label"])}


def cifar(labeled: int = 120, unlabeled: int = 60) -> dict[str, pa.Table]:
    """Pictures of 32 x 32 as JPEG bytes."""
    read = _read("cifar10/train.parquet", ["jpeg", "label"]).slice(0, labeled + unlabeled)
    read = _named(read.rename_columns(["image", "label"]), "c")
    return {"labeled": read.slice(0, labeled), "unlabeled": read.slice(labeled).drop_columns(["label"])}

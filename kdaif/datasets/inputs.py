"""One data set read run by run: its ids, its rows by content and, where they are kept, as one array."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets.columns import Layout
from kdaif.datasets.findings import Findings, first_ids
from kdaif.datasets.ids import read_ids
from kdaif.datasets.input_readers import reader_of
from kdaif.datasets.labels import Names
from kdaif.datasets.parquet import MOST_BYTES
from kdaif.datasets.part import Part
from kdaif.datasets.rows import InputSignature
from kdaif.datasets.table_file import TableFile
from kdaif.records import Inputs
from kdaif.scratch import Scratch

_IN_MEMORY = Scratch()


def read_part(
    file: TableFile,
    layout: Layout,
    signature: InputSignature,
    inputs: Inputs,
    findings: Findings,
    scratch: Scratch | None,
    *,
    keep_groups: bool,
) -> Part | None:
    """Reads ids and inputs of one data set in the column order of ``signature``.

    Args:
        file: the data set.
        layout: of its columns.
        signature: of the labelled set, which the layout matches.
        inputs: how texts are normalised, and whether pictures are scaled.
        findings: receives what is wrong.
        scratch: keeps the inputs; None to check them alone, encoded pictures then by their headers.
        keep_groups: reads the groups; otherwise the types of their columns are checked.

    Returns:
        None when ids or inputs cannot be read at all; ``findings`` says why.
    """
    ids = read_ids(file, scratch or _IN_MEMORY, findings)
    if ids is None:
        return None
    if layout.pictures is not None and not _fits(file, signature.shape, findings):
        return None
    reader = reader_of(layout, signature, inputs, decode_pictures=scratch is not None)
    hashes = np.empty(len(ids), dtype=np.uint64)
    bad = [np.zeros(len(ids), dtype=np.bool_) for _ in reader.reasons()]
    features: NDArray[Any] | None = None
    if scratch is not None and signature.kind != "text":
        features = scratch.empty((len(ids), *signature.shape), np.uint8 if signature.kind == "image" else np.float32)
    made_bytes = 0 if features is None else features[:1].nbytes
    for rows, batch in file.batches(reader.columns, made_bytes=made_bytes):
        run = reader.read(rows, batch)
        hashes[rows] = run.hashes
        for all_rows, these in zip(bad, run.bad, strict=True):
            all_rows[rows] = these
        if scratch is not None and features is not None:
            features[rows] = run.values
            scratch.release()
    rejections = list(zip(reader.reasons(), bad, strict=True))
    refused = [(reason, rows) for reason, rows in rejections if reason.refuses and rows.any()]
    for reason, which in refused:
        findings.refuse(reason.code, file.field, reason.text, int(which.sum()), first_ids(ids, which))
    if refused:
        return None
    part = Part(file, ids, hashes, np.ones(len(ids), dtype=np.bool_), {}, features)
    part.groups.update(_groups(part, layout, findings, kept=keep_groups))
    for reason, which in rejections:
        part.reject(which, reason.code, reason.text, findings)
    return part


def _groups(part: Part, layout: Layout, findings: Findings, *, kept: bool) -> dict[str, Names]:
    columns = [name for name in layout.groups if part.has_names(name, findings)]
    found = {name: part.names(name, findings) for name in columns} if kept else {}
    return {name: names for name, names in found.items() if names is not None}


def _fits(file: TableFile, shape: tuple[int, ...], findings: Findings) -> bool:
    fits = file.num_rows * prod(shape) <= MOST_BYTES
    if not fits:
        findings.refuse(
            "TOO_LARGE",
            file.field,
            f"{file.num_rows} pictures of shape {shape} take over {MOST_BYTES // 2**30} GiB; give "
            "inputs.image_height and inputs.image_width to scale them down, or fewer rows",
            file.num_rows,
        )
    return fits

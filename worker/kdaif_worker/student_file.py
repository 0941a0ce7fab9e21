"""The student's files: fp32, the variants that pass their gate, and the certificate of all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets import DistillationData
from kdaif.export import (
    Certificate,
    GateRows,
    certify,
    checked_rows,
    export_onnx,
    make_variants,
    value_ranges,
)
from kdaif.records import Export
from kdaif.scratch import Scratch
from kdaif.students import Student

MODEL_NAME = "model.onnx"
# Of the unlabelled rows, evenly over all: every fifth for the ranges of int8, the others for agreement with fp32.
_SAMPLED_ROWS = 2560
_CALIBRATION_EVERY = 5
_RANGE_COPIES = 2


def write_student(
    folder: Path, student: Student, data: DistillationData, export: Export, temperature: float, scratch: Scratch
) -> Certificate:
    """Writes the files and ``certificate.json`` into the bundle.

    Raises:
        TrainingError: the fp32 file is not what was trained, or not for the runtime that the spec asks for.
    """
    model, test = folder / MODEL_NAME, data.test
    export_onnx(student, model, data.class_names, temperature=temperature)
    certificate = certify(student, model, test.features, temperature=temperature)
    certificate.require_passed()
    calibration, others = _sampled(data, scratch)
    checked, _ = checked_rows(student, test.features)
    rows = GateRows(calibration, test.features, test.labels, others, checked)
    certificate = replace(certificate, variants=make_variants(model, rows, data.class_names, export))
    (folder / "certificate.json").write_text(json.dumps(certificate.to_json(), indent=1, sort_keys=True) + "\n")
    return certificate


def oldest_runtimes(certificate: Certificate) -> dict[str, str]:
    """Oldest release of onnxruntime that is known to read it, by file of the bundle."""
    return {
        variant.file: variant.figures.oldest_onnxruntime
        for variant in certificate.variants
        if variant.shipped and variant.figures is not None
    }


def trained_ranges(data: DistillationData, scratch: Scratch) -> dict[str, list[float]]:
    """`value_ranges` of the rows that the student was trained on."""

    def parts() -> Iterator[NDArray[Any]]:
        for rows in (data.labeled.features, data.unlabeled.features):
            row_bytes = _RANGE_COPIES * int(np.prod(rows.shape[1:])) * rows.dtype.itemsize
            for some in scratch.slabs(len(rows), row_bytes):
                yield rows[some]

    return value_ranges(data.signature, parts())


def _sampled(data: DistillationData, scratch: Scratch) -> tuple[NDArray[Any], NDArray[Any]]:
    features = data.unlabeled.features
    places = np.unique(np.linspace(0, len(features) - 1, min(len(features), _SAMPLED_ROWS)).astype(np.int64))
    sample = scratch.take(features, places)
    is_calibration = np.arange(len(sample)) % _CALIBRATION_EVERY == 0
    return sample[is_calibration], sample[~is_calibration]

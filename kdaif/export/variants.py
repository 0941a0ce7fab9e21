"""Variants of the fp32 file, and the gate that each has to pass to be in the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from kdaif.errors import NonFiniteError, TrainingError
from kdaif.export.gate import BatchCheck, ClassAccuracy, Figures, faults, gains, runtime_faults
from kdaif.export.interface import FEATURES_NAME, INPUT_NAME, OUTPUT_NAMES
from kdaif.export.runtimes import oldest_onnxruntime, opset_and_ir
from kdaif.export.timing import medians_ms, one_row_call, open_session
from kdaif.export.variant_files import write_fp16, write_int8
from kdaif.records import Export, VariantName

BATCHES = (1, 2, 3, 64)
_RUN_ROWS = 1024


@dataclass(frozen=True, eq=False)
class GateRows:
    """Raw rows that variants are made and judged by, each as of `certify`.

    Attributes:
        calibration: that the student was trained on, for the ranges of int8.
        test: with labels, held out from training; ``labels`` are their codes `[N]`.
        others: real rows, labelled or not, on which only agreement with the fp32 file is looked at.
        checked: of `checked_rows`, to be run at every batch size.
    """

    calibration: NDArray[Any]
    test: NDArray[Any]
    labels: NDArray[np.integer[Any]]
    others: NDArray[Any]
    checked: NDArray[Any]


@dataclass(frozen=True)
class Variant:
    """One file of the student.

    Attributes:
        name: "fp32", "fp16" or "int8".
        file: its name in the bundle.
        shipped: whether it is there.
        reason: why it is not; of one that is, what it gains.
        figures: as measured; None where no file could be made.
    """

    name: VariantName
    file: str
    shipped: bool
    reason: str
    figures: Figures | None

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and strings, without NaN."""
        own = asdict(self)
        figures = own.pop("figures")
        return own if figures is None else {**own, **figures, "batches": list(figures["batches"])}


def make_variants(fp32: Path, rows: GateRows, class_names: Sequence[str], export: Export) -> tuple[Variant, ...]:
    """Makes the wanted variants beside the fp32 file, ``model.fp16.onnx`` beside ``model.onnx``, where they pass.

    All files take turns while they are timed, at batch 1 on one thread. One that does not pass `kdaif.export.gate` is
    deleted.

    Args:
        fp32: of `export_onnx`.
        rows: at least one in each part but ``others``.
        class_names: in the order of the logits.
        export: which ones, and the bars.

    Returns:
        The fp32 file, and every variant that was tried, as wanted.

    Raises:
        TrainingError: the fp32 file is not known to be read by ``min_runtime``.
    """
    wanted = [name for name in export.variants if name != "fp32"]
    files = {name: fp32.with_name(f"{fp32.stem}.{name}{fp32.suffix}") for name in wanted}
    runs, failed = {"fp32": _run(fp32, rows)}, {}
    for name, file in files.items():
        try:
            _write(name, fp32, file, rows.calibration)
            runs[name] = _run(file, rows)
        except Exception as error:  # the fp32 file is good whatever a converter or the runtime makes of this one
            failed[name] = f"it could not be made: {type(error).__name__}: {error}"
    times = medians_ms([one_row_call(run.session, rows.test[:1]) for run in runs.values()])
    measured = {
        name: _figures(run, runs["fp32"], ms, rows.labels, class_names)
        for (name, run), ms in zip(runs.items(), times, strict=True)
    }
    first = measured["fp32"]
    if wrong := runtime_faults(first, export):
        raise TrainingError(f"the ONNX file cannot be published: {wrong[0]}")
    found = [Variant("fp32", fp32.name, True, "always there", first)]
    for name, file in files.items():
        figures = measured.get(name)
        wrong = [failed[name]] if figures is None else faults(figures, first, export)
        if wrong:
            file.unlink(missing_ok=True)
        reason = "; ".join(wrong) if figures is None or wrong else gains(figures, first)
        found.append(Variant(name, file.name, not wrong, reason, figures))
    return tuple(found)


def _write(name: VariantName, fp32: Path, file: Path, calibration: NDArray[Any]) -> None:
    if name == "fp16":
        write_fp16(fp32, file)
    else:
        write_int8(fp32, file, calibration)


@dataclass(frozen=True, eq=False)
class _Run:
    """What a file says: logits `[N, C]` of the test rows and the others, and of the checked rows by batch.

    ``features`` `[N, F]` are those of ``real``.
    """

    file: Path
    session: InferenceSession
    real: NDArray[np.float32]
    features: NDArray[np.float32]
    checked: Mapping[int, NDArray[np.float32]]


def _run(file: Path, rows: GateRows) -> _Run:
    session = open_session(file)
    parts = [_outputs(session, part, min(_RUN_ROWS, len(part))) for part in (rows.test, rows.others) if len(part)]
    real, features = (np.concatenate(of_parts) for of_parts in zip(*parts, strict=True))
    checked = {batch: _outputs(session, rows.checked, batch)[0] for batch in BATCHES}
    if not all(bool(np.isfinite(numbers).all()) for numbers in (real, features, *checked.values())):
        raise NonFiniteError("it gives NaN or infinity")
    return _Run(file, session, real, features, checked)


def _outputs(
    session: InferenceSession, rows: NDArray[Any], batch: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits and features."""
    # Start over at the first rows to fill the last batch: a shorter one would be a different batch size.
    order = np.resize(np.arange(len(rows)), -(-len(rows) // batch) * batch).reshape(-1, batch)
    names = [OUTPUT_NAMES[0], FEATURES_NAME]
    runs = [session.run(names, {INPUT_NAME: np.ascontiguousarray(rows[part])}) for part in order]
    logits, features = (np.concatenate(of_runs)[: len(rows)] for of_runs in zip(*runs, strict=True))
    return logits, features


def _figures(
    run: _Run, reference: _Run, ms: float, labels: NDArray[np.integer[Any]], class_names: Sequence[str]
) -> Figures:
    right = run.real[: len(labels)].argmax(axis=1) == labels
    by_class = {name: right[labels == code] for code, name in enumerate(class_names)}
    opset, ir_version = opset_and_ir(onnx.load(run.file, load_external_data=False))
    return Figures(
        size_bytes=run.file.stat().st_size,
        ms_per_row=ms,
        accuracy=float(right.mean()),
        classes={
            name: ClassAccuracy(len(own), float(own.mean()) if len(own) else None) for name, own in by_class.items()
        },
        agreement=_agreement(run.real, reference.real),
        agreement_rows=len(run.real),
        max_abs_difference=_largest(run.real, reference.real),
        largest_logit=float(np.abs(reference.real).max()),
        features_cosine=_mean_cosine(run.features, reference.features),
        batches=tuple(
            BatchCheck(
                batch,
                len(logits),
                _largest(logits, reference.checked[batch]),
                _agreement(logits, reference.checked[batch]),
                _largest(logits, run.checked[BATCHES[0]]),
            )
            for batch, logits in run.checked.items()
        ),
        opset=opset,
        ir_version=ir_version,
        oldest_onnxruntime=oldest_onnxruntime(opset, ir_version),
    )


def _agreement(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    return float((logits.argmax(axis=1) == reference.argmax(axis=1)).mean())


def _largest(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    return float(np.abs(logits - reference).max())


def _mean_cosine(features: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    own, theirs = (numbers.astype(np.float64) for numbers in (features, reference))
    lengths = np.linalg.norm(own, axis=1) * np.linalg.norm(theirs, axis=1)
    # A row of zeros points nowhere: it is like another one of zeros, and like nothing else.
    both_zero = ~own.any(axis=1) & ~theirs.any(axis=1)
    cosines = np.where(lengths > 0, (own * theirs).sum(axis=1) / np.where(lengths > 0, lengths, 1.0), both_zero)
    return float(np.clip(cosines, -1.0, 1.0).mean())

"""Proof that the file computes what torch computed, how fast it is, and which runtimes can read it."""

from __future__ import annotations

import copy
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from kdaif.datasets import InputSignature
from kdaif.errors import InvalidInputError, NonFiniteError, TrainingError
from kdaif.export.interface import INPUT_NAME, OUTPUT_NAMES, input_dtype
from kdaif.export.runtimes import oldest_onnxruntime, opset_and_ir
from kdaif.export.timing import median_ms, one_row_call, open_session
from kdaif.export.variants import Variant
from kdaif.students import Student, vocabulary_size

BATCHES = (1, 2, 3, 64)
TOLERANCE_ABS = 1e-4
TOLERANCE_REL = 1e-5

_MOST_ROWS = 256


@dataclass(frozen=True)
class Parity:
    """Torch against onnxruntime at one batch size.

    ``max_abs_difference`` is that of a logit; ``argmax_agreement`` is a share of the rows, 0 to 1;
    ``max_abs_features_difference`` is that of a number of the output "features".
    """

    batch: int
    rows: int
    max_abs_difference: float
    max_abs_probability_difference: float
    argmax_agreement: float
    max_abs_features_difference: float
    passed: bool


@dataclass(frozen=True)
class Certificate:
    """What was checked on one file.

    Attributes:
        passed: every row at every batch size is within tolerance and in the same class. The tolerance of a row is
            ``tolerance_abs + tolerance_rel * max |logit of the row|``; classes may differ only where the margin between
            torch's two largest logits is under twice that. Probabilities are held to the same tolerance, over the
            temperature where that is below 1; features to their own, by the largest feature of the row.
        parity: one entry per batch size.
        temperature: of the probabilities.
        rows: rows compared, edge rows among them.
        edge_rows: all zeros (nothing but padding, nothing but unknown categories), and the smallest and largest
            value each input can take (images, word pieces, categories) or took (numbers); with nulls, a row of them.
        onnx_ms_per_row: median milliseconds of one row at batch 1 on one thread in onnxruntime; ``torch_ms_per_row``
            is the same in eager torch, in the same run on the same machine.
        size_bytes: of the file.
        oldest_onnxruntime: release that is known to read this opset and IR; empty when not known.
        versions: of the packages and the machine that made this certificate.
        variants: every file that was tried, the fp32 one first; empty where none were measured.
    """

    passed: bool
    parity: tuple[Parity, ...]
    temperature: float
    tolerance_abs: float
    tolerance_rel: float
    rows: int
    edge_rows: int
    onnx_ms_per_row: float
    torch_ms_per_row: float
    size_bytes: int
    opset: int
    ir_version: int
    oldest_onnxruntime: str
    versions: dict[str, str]
    variants: tuple[Variant, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and strings, without NaN."""
        return {
            **asdict(self),
            "parity": [asdict(entry) for entry in self.parity],
            "variants": [entry.to_json() for entry in self.variants],
        }

    def require_passed(self) -> None:
        """Raises `TrainingError` with the failing batch sizes unless the certificate passed."""
        failed = [entry for entry in self.parity if not entry.passed]
        if failed:
            told = "; ".join(
                f"batch {entry.batch}: logits differ by up to {entry.max_abs_difference:.3g}, "
                f"probabilities by up to {entry.max_abs_probability_difference:.3g}, "
                f"features by up to {entry.max_abs_features_difference:.3g}, "
                f"{entry.argmax_agreement:.2%} of {entry.rows} rows in the same class"
                for entry in failed
            )
            raise TrainingError(
                f"the ONNX file does not compute what the student computes ({told}); it is not published"
            )


def certify(student: Student, file: Path, rows: NDArray[Any], *, temperature: float = 1.0) -> Certificate:
    """Runs the student and the file on the same rows, at batch 1, 2, 3 and 64, and times both.

    Torch is held to one thread while it is timed, for the whole process.

    Args:
        student: what the file was exported from; left where and as it is.
        file: of `export_onnx`.
        rows: real raw rows, float32 ``[N, D]``, uint8 ``[N, H, W, C]`` or int32 ``[N, max_tokens]``, N above 0; the
            first 256 are used.
        temperature: that the file was exported with.

    Returns:
        The certificate, passed or not. `Certificate.require_passed` turns a failed one into an error.

    Raises:
        InvalidInputError: no rows, or rows of another shape or dtype than the student's signature.
        NonFiniteError: torch or onnxruntime gives NaN or infinity for a row.
    """
    checked, n_edge = checked_rows(student, rows)
    model = copy.deepcopy(student).to("cpu").eval()
    session = open_session(file)
    expected = _torch_outputs(model, checked)
    parity = tuple(_compare(session, checked, expected, batch, temperature) for batch in BATCHES)
    opset, ir_version = opset_and_ir(onnx.load(file, load_external_data=False))
    one_row = np.ascontiguousarray(rows[:1])
    return Certificate(
        passed=all(entry.passed for entry in parity),
        parity=parity,
        temperature=temperature,
        tolerance_abs=TOLERANCE_ABS,
        tolerance_rel=TOLERANCE_REL,
        rows=len(checked),
        edge_rows=n_edge,
        onnx_ms_per_row=median_ms(one_row_call(session, one_row)),
        torch_ms_per_row=_torch_ms_per_row(model, one_row),
        size_bytes=file.stat().st_size,
        opset=opset,
        ir_version=ir_version,
        oldest_onnxruntime=oldest_onnxruntime(opset, ir_version),
        versions=_versions(),
    )


def checked_rows(student: Student, rows: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """The first 256 rows with the edge rows of `Certificate` after them, and how many these are.

    Raises:
        InvalidInputError: as of `certify`.
    """
    edge = _edge_rows(student, rows)
    return np.concatenate([rows[:_MOST_ROWS], edge]), len(edge)


def _edge_rows(student: Student, rows: NDArray[Any]) -> NDArray[Any]:
    signature = student.signature
    dtype = input_dtype(signature)
    if len(rows) == 0 or rows.shape[1:] != signature.shape or rows.dtype != dtype:
        wanted = f"at least one row of {dtype} {signature.shape}"
        raise InvalidInputError.of("rows", f"{wanted}, not {rows.dtype} of shape {rows.shape}")
    match signature.kind:
        case "image":
            return np.stack([np.full(signature.shape, value, dtype) for value in (0, 255)])
        case "text":
            largest = vocabulary_size(signature.tokenizer) - 1
            one_piece = np.zeros(signature.shape, dtype)
            one_piece[0] = largest
            return np.stack([np.zeros(signature.shape, dtype), one_piece, np.full(signature.shape, largest, dtype)])
        case "numeric":
            return _edge_numbers(signature, rows)


def _edge_numbers(signature: InputSignature, rows: NDArray[Any]) -> NDArray[Any]:
    # Where a column is all nulls there is no smallest value but a null.
    smallest, largest = np.fmin.reduce(rows, axis=0), np.fmax.reduce(rows, axis=0)
    for place, names in enumerate(signature.categories):
        if names:
            smallest[place], largest[place] = 1, len(names)
    edge = [np.zeros(signature.shape, rows.dtype), smallest, largest]
    if any(signature.nullable):
        nulls = smallest.copy()
        for place, nullable in enumerate(signature.nullable):
            if nullable:
                nulls[place] = 0 if signature.categories and signature.categories[place] else np.nan
        edge.append(nulls)
    return np.stack(edge)


@dataclass(frozen=True, eq=False)
class _Outputs:
    logits: NDArray[np.float32]
    features: NDArray[np.float32]


def _torch_outputs(model: Student, rows: NDArray[Any]) -> _Outputs:
    with torch.inference_mode():
        features = model.features(torch.from_numpy(rows))
        outputs = _Outputs(model.head(features).numpy(), features.numpy())
    _require_finite(outputs.logits, "the torch student")
    return outputs


def _compare(
    session: onnxruntime.InferenceSession,
    rows: NDArray[Any],
    expected: _Outputs,
    batch: int,
    temperature: float,
) -> Parity:
    # Start over at the first rows to fill the last batch: a shorter one would be a different batch size.
    order = np.resize(np.arange(len(rows)), -(-len(rows) // batch) * batch)
    runs = [session.run(list(OUTPUT_NAMES), {INPUT_NAME: rows[part]}) for part in order.reshape(-1, batch)]
    logits, probabilities, features = (np.concatenate(parts)[: len(rows)] for parts in zip(*runs, strict=True))
    _require_finite(logits, f"onnxruntime at batch {batch}")
    difference, tolerance = _off(logits, expected.logits)
    features_off, features_tolerance = _off(features, expected.features)
    same_class = logits.argmax(axis=1) == expected.logits.argmax(axis=1)
    two_largest = np.sort(expected.logits, axis=1)[:, -2:]
    tied = two_largest[:, -1] - two_largest[:, 0] < 2 * tolerance
    softmax_off = np.abs(probabilities - _softmax(expected.logits / temperature)).max(axis=1)
    # The softmax never moves by more than its input does, which is logits / temperature.
    softmax_tolerance = tolerance / min(temperature, 1.0)
    is_within = (difference <= tolerance) & (softmax_off <= softmax_tolerance) & (features_off <= features_tolerance)
    return Parity(
        batch=batch,
        rows=len(rows),
        max_abs_difference=float(difference.max()),
        max_abs_probability_difference=float(softmax_off.max()),
        argmax_agreement=float(same_class.mean()),
        max_abs_features_difference=float(features_off.max()),
        passed=bool(np.all(is_within & (same_class | tied))),
    )


def _off(found: NDArray[np.float32], expected: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far each row is off, and how far it may be."""
    return np.abs(found - expected).max(axis=1), TOLERANCE_ABS + TOLERANCE_REL * np.abs(expected).max(axis=1)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _require_finite(logits: NDArray[np.float32], who: str) -> None:
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        raise NonFiniteError(
            f"{who} gives NaN or infinity for {len(bad)} of {len(logits)} checked rows, first at positions "
            f"{bad[:10].tolist()}; the last positions are the edge rows (zeros, smallest, largest)"
        )


def _torch_ms_per_row(model: Student, one_row: NDArray[Any]) -> float:
    row = torch.from_numpy(np.array(one_row))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return median_ms(lambda: model(row))
    finally:
        torch.set_num_threads(threads)


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("numpy", "onnx", "onnxruntime", "torch")}
    return {**packages, "python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}

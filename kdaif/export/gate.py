"""What a variant must be like to stand beside the fp32 file. Figures in, words out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kdaif.records import Export
from kdaif.records.export import release

# Share of the largest logit by which an answer may depend on its neighbours in the batch.
_BATCH_SHIFT = 0.01


@dataclass(frozen=True)
class ClassAccuracy:
    """Share of the test rows of one class that are right, 0 to 1; None where there are no rows."""

    rows: int
    accuracy: float | None


@dataclass(frozen=True)
class BatchCheck:
    """One batch size on the checked rows, edge rows among them.

    ``max_abs_difference`` (of a logit) and ``argmax_agreement`` are against the fp32 file; ``max_abs_batch_shift`` is
    how far a logit of the same file moves from what it is at batch 1.
    """

    batch: int
    rows: int
    max_abs_difference: float
    argmax_agreement: float
    max_abs_batch_shift: float


@dataclass(frozen=True)
class Figures:
    """One file as it was measured.

    Attributes:
        size_bytes: of the file.
        ms_per_row: median milliseconds of one row at batch 1 on one thread.
        accuracy: share of the test rows that are right, 0 to 1.
        classes: the same by class name.
        agreement: share of ``agreement_rows`` rows, test rows and others, in the same class as by the fp32 file.
        max_abs_difference: of a logit from the fp32 file's, over the same rows.
        largest_logit: of the fp32 file, in absolute value, over the same rows.
        features_cosine: mean cosine of the output "features" with the fp32 file's, over the same rows.
        batches: one entry per batch size, 1 first.
        opset: of ONNX's own operators, 0 where there are others as well.
        ir_version: of the format.
        oldest_onnxruntime: release that is known to read the file; empty when not known.
    """

    size_bytes: int
    ms_per_row: float
    accuracy: float
    classes: Mapping[str, ClassAccuracy]
    agreement: float
    agreement_rows: int
    max_abs_difference: float
    largest_logit: float
    features_cosine: float
    batches: tuple[BatchCheck, ...]
    opset: int
    ir_version: int
    oldest_onnxruntime: str


def faults(variant: Figures, fp32: Figures, export: Export) -> list[str]:
    """Why a variant must not ship, one sentence each; empty where it may.

    Each class may lose no more than ``max_class_drop_points`` on the test rows, ``min_agreement`` of the real rows keep
    their class, an answer does not depend on the batch it is in, and the file is smaller or faster by ``min_gain`` and
    no slower than ``max_slowdown`` allows.
    """
    return [
        *runtime_faults(variant, export),
        *_accuracy_faults(variant, fp32, export),
        *_batch_faults(variant),
        *_gain_faults(variant, fp32, export),
    ]


def runtime_faults(figures: Figures, export: Export) -> list[str]:
    """That the runtime which the spec asks for is not known to read the file; empty where it is."""
    wanted, oldest = export.min_runtime, figures.oldest_onnxruntime
    if wanted is None or (oldest and release(oldest) <= release(wanted)):
        return []
    told = f"needs onnxruntime {oldest} or newer" if oldest else "is not known to run on any onnxruntime"
    form = f"ONNX opset {figures.opset}, IR version {figures.ir_version}"
    return [f"the file ({form}) {told}, and min_runtime promises {wanted}"]


def gains(variant: Figures, fp32: Figures) -> str:
    """Size and time beside the fp32 file's, in words: `3.33 times smaller than fp32 and as fast`."""
    smaller, faster = fp32.size_bytes / variant.size_bytes, fp32.ms_per_row / variant.ms_per_row
    size, time = _times(smaller, "smaller", "larger"), _times(faster, "faster", "slower")
    return f"{f'{size} than' if size else 'as large as'} fp32 and {time or 'as fast'}"


def _times(ratio: float, above: str, below: str) -> str:
    """Empty for a ratio that rounds to 1."""
    told = f"{max(ratio, 1 / ratio):.2f}"
    return "" if told == "1.00" else f"{told} times {above if ratio > 1 else below}"


def _accuracy_faults(variant: Figures, fp32: Figures, export: Export) -> list[str]:
    found = []
    for name, own in variant.classes.items():
        before = fp32.classes[name].accuracy
        if own.accuracy is not None and before is not None:
            drop = 100 * (before - own.accuracy)
            # A drop of just the bar is within it, however it was rounded.
            if drop > export.max_class_drop_points + 1e-9:
                found.append(
                    f"of the {own.rows} test rows of class {name!r} {own.accuracy:.1%} are right instead of "
                    f"{before:.1%}, {drop:.1f} points less; max_class_drop_points allows "
                    f"{export.max_class_drop_points:g}"
                )
    if variant.agreement < export.min_agreement:
        found.append(
            f"{variant.agreement:.2%} of {variant.agreement_rows} rows get the class that fp32 gives them; "
            f"min_agreement asks for {export.min_agreement:.2%}"
        )
    return found


def _batch_faults(variant: Figures) -> list[str]:
    shift, bar = max(entry.max_abs_batch_shift for entry in variant.batches), _BATCH_SHIFT * variant.largest_logit
    if shift <= bar:
        return []
    told = "a row's answer depends on the rows beside it in the batch: a logit moves"
    return [f"{told} by up to {shift:.3g}, and {bar:.3g} is allowed ({_BATCH_SHIFT:.0%} of the largest)"]


def _gain_faults(variant: Figures, fp32: Figures, export: Export) -> list[str]:
    size, time = variant.size_bytes / fp32.size_bytes, variant.ms_per_row / fp32.ms_per_row
    told = f"it is {gains(variant, fp32)}"
    if min(size, time) > 1 - export.min_gain:
        return [f"{told}; min_gain asks for at least {export.min_gain:.0%} less of either"]
    if time > 1 + export.max_slowdown:
        return [f"{told}; max_slowdown allows {export.max_slowdown:.0%} more time"]
    return []

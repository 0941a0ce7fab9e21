"""How rows become the input of a model file: which input and output, which type, layout and scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets.rows import InputSignature
from kdaif.errors import InvalidInputError
from kdaif.records import ModelTensor, OnnxSignature, OnnxTeacher

_BATCH = 128
# A batch that is not full is filled up, and all of it is in memory at once.
_MOST_FIXED_BATCH = 4096
_FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class InputPlan:
    """Names, and how a batch of rows is turned into the input.

    Attributes:
        input: name.
        output: name.
        dtype: of the input.
        shape: of one row of it.
        batch: rows in one run.
        fixed: whether the file takes no other number of rows.
        channels_first: whether an image is ``[C, H, W]``.
        scale: pixels are multiplied with it, then normalised; None leaves the values as they are.
        mean: of each channel, or one for all, or none.
        std: likewise.
    """

    input: str
    output: str
    dtype: str
    shape: tuple[int, ...]
    batch: int
    fixed: bool
    channels_first: bool = False
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def convert(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows ``[n, D]`` or ``[n, H, W, C]`` as the model wants them: ``(x * scale - mean) / std`` of images."""
        found = rows
        if self.scale is not None:
            found = rows.astype(np.float32) * np.float32(self.scale)
            if self.mean:
                found = found - np.asarray(self.mean, dtype=np.float32)
            if self.std:
                found = found / np.asarray(self.std, dtype=np.float32)
        if self.channels_first:
            found = found.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(found, dtype=self.dtype)


def plan_input(source: OnnxTeacher, model: OnnxSignature, rows: InputSignature, classes: int, field: str) -> InputPlan:
    """Fits the rows of the job to the model.

    Raises:
        InvalidInputError: naming the field: the model wants other rows, or what it wants cannot be told.
    """
    wanted = _chosen(model.inputs, source.input, f"{field}.input", "input")
    if len(model.inputs) > 1:
        raise InvalidInputError.of(
            f"{field}.model", f"the model needs {len(model.inputs)} inputs, and a row is one; export it with one input"
        )
    output = _chosen(_fitting(model.outputs, source.output, classes), source.output, f"{field}.output", "output")
    _check_output(output, classes, field)
    declared = wanted.shape[0] if wanted.shape else None
    fixed, batch = declared is not None, declared or _BATCH
    if batch > _MOST_FIXED_BATCH:
        raise InvalidInputError.of(
            f"{field}.model",
            f"the model takes {batch} rows at a time and no other number; export it with a batch of its own size at "
            f"each run (a dynamic axis), or of at most {_MOST_FIXED_BATCH}",
        )
    if rows.kind == "text":
        raise InvalidInputError.of(
            field,
            "a model file cannot be asked about text, since how it cuts text into pieces is not in it; use a "
            "'transformer' teacher, or give the outputs as a column",
        )
    if rows.kind == "numeric":
        return _numeric(source, wanted, output.name, rows, batch, fixed, field)
    return _image(source, wanted, output.name, rows, batch, fixed, field)


def _chosen(found: tuple[ModelTensor, ...], name: str | None, field: str, what: str) -> ModelTensor:
    names = ", ".join(repr(tensor.name) for tensor in found[:10])
    if name is None and len(found) > 1:
        raise InvalidInputError.of(field, f"the model has {len(found)} {what}s ({names}); name the one to use")
    chosen = [tensor for tensor in found if name in (None, tensor.name)]
    if not chosen:
        raise InvalidInputError.of(field, f"the model has no {what} {name!r}, only {names}")
    return chosen[0]


def _fitting(outputs: tuple[ModelTensor, ...], name: str | None, classes: int) -> tuple[ModelTensor, ...]:
    """Where none is named, the outputs that may hold a float for each class; all of them where none does."""
    if name is not None:
        return outputs
    floats = [output for output in outputs if output.dtype in _FLOATS]
    exact = [output for output in floats if output.shape and len(output.shape) == 2 and output.shape[1] == classes]
    loose = [output for output in floats if output.shape is None or (len(output.shape) == 2 and not output.shape[1])]
    return tuple(exact or loose or outputs)


def _check_output(output: ModelTensor, classes: int, field: str) -> None:
    if output.dtype not in _FLOATS:
        raise InvalidInputError.of(
            f"{field}.output", f"{output.name!r} is {output.dtype}; name the output that holds a float for each class"
        )
    if output.shape is None:
        return
    if len(output.shape) != 2 or output.shape[1] not in (None, classes):
        raise InvalidInputError.of(
            f"{field}.class_names",
            f"{output.name!r} has shape {_shown(output.shape)}, and {classes} class names need [rows, {classes}]; name "
            "one class for each column of the output",
        )


def _numeric(
    source: OnnxTeacher,
    wanted: ModelTensor,
    output: str,
    rows: InputSignature,
    batch: int,
    fixed: bool,
    field: str,
) -> InputPlan:
    _refuse_picture_options(source, field, "rows are numbers")
    if any(rows.categories):
        raise InvalidInputError.of(
            f"{field}.model",
            "the rows hold categories, whose codes are kdaif's own and nothing that the model has learned; give its "
            "outputs as a column",
        )
    if wanted.dtype not in ("float32", "float64"):
        raise InvalidInputError.of(f"{field}.model", f"input {wanted.name!r} is {wanted.dtype}; export it with float32")
    width = rows.shape[0]
    if wanted.shape is not None and (len(wanted.shape) != 2 or wanted.shape[1] not in (None, width)):
        raise InvalidInputError.of(
            f"{field}.model",
            f"input {wanted.name!r} has shape {_shown(wanted.shape)}, and the rows are [rows, {width}] with columns "
            f"{', '.join(rows.columns[:10])}; give the columns that the model was trained on, in its order",
        )
    return InputPlan(wanted.name, output, wanted.dtype, rows.shape, batch, fixed)


def _image(
    source: OnnxTeacher,
    wanted: ModelTensor,
    output: str,
    rows: InputSignature,
    batch: int,
    fixed: bool,
    field: str,
) -> InputPlan:
    height, width, channels = rows.shape
    first = _layout(source, wanted, rows.shape, field) == "nchw"
    shape = (channels, height, width) if first else rows.shape
    plan = InputPlan(wanted.name, output, wanted.dtype, shape, batch, fixed, channels_first=first)
    if wanted.dtype == "uint8":
        _refuse_picture_options(source, field, "the model takes raw pixels", layout=True)
        return plan
    if wanted.dtype not in _FLOATS:
        raise InvalidInputError.of(
            f"{field}.model", f"input {wanted.name!r} is {wanted.dtype}; export it with float32 or uint8"
        )
    for name, values in (("mean", source.mean), ("std", source.std)):
        if len(values) not in (0, 1, channels):
            raise InvalidInputError.of(
                f"{field}.{name}", f"holds {len(values)} numbers, and an image has {channels} channels; give one each"
            )
    scale = 1 / 255 if source.scale is None else source.scale
    return InputPlan(
        **{**plan.__dict__, "scale": scale, "mean": source.mean, "std": source.std},
    )


def _layout(source: OnnxTeacher, wanted: ModelTensor, shape: tuple[int, ...], field: str) -> str:
    """Where the channels stand: as declared, else where the file's own shape leaves only one possibility."""
    height, width, channels = shape
    rows = {"nchw": (channels, height, width), "nhwc": shape}
    fitting = [name for name, axes in rows.items() if _fits(wanted.shape, axes)]
    if source.layout in fitting:
        return source.layout
    if source.layout is None and len(fitting) == 1:
        return fitting[0]
    if not fitting or source.layout is not None:
        raise InvalidInputError.of(
            f"{field}.layout" if fitting else f"{field}.model",
            f"input {wanted.name!r} has shape {_shown(wanted.shape)}, and the images are {height} x {width} with "
            f"{channels} channels; give images of the size and the colours that the model was trained on",
        )
    raise InvalidInputError.of(
        f"{field}.layout",
        f"input {wanted.name!r} has shape {_shown(wanted.shape)}, which does not tell where the channels stand; "
        "declare 'nchw' or 'nhwc'",
    )


def _fits(shape: tuple[int | None, ...] | None, axes: tuple[int, ...]) -> bool:
    if shape is None:
        return True
    return len(shape) == 4 and all(size in (None, axis) for size, axis in zip(shape[1:], axes, strict=True))


def _refuse_picture_options(source: OnnxTeacher, field: str, why: str, *, layout: bool = False) -> None:
    given = {"scale": source.scale is not None, "mean": bool(source.mean), "std": bool(source.std)}
    if not layout:
        given["layout"] = source.layout is not None
    for name, is_given in given.items():
        if is_given:
            raise InvalidInputError.of(f"{field}.{name}", f"has no effect, since {why}; leave it out")


def _shown(shape: tuple[int | None, ...] | None) -> str:
    return "unknown" if shape is None else "[" + ", ".join("?" if axis is None else str(axis) for axis in shape) + "]"

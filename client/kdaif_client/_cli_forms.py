"""The short forms of students, teachers and noise, such as ``mlp:64,32``."""

from __future__ import annotations

import re
from collections.abc import Callable

from kdaif_client.architectures import Architecture, Auto, Bag, Cnn, Mlp, Mobilenet, Resnet, TextEncoder
from kdaif_client.errors import InvalidArgument
from kdaif_client.teachers import (
    ColumnTeacher,
    OnnxTeacher,
    PlantedNoise,
    Teacher,
    TrainedTeacher,
    TransformerTeacher,
)

STUDENT_FORMS = (
    "auto, auto:max_kb=200,max_ms=0.5, mlp, mlp:64,32, cnn or cnn:16,32, resnet, resnet:16,32, mobilenet, bag, bag:64 "
    "or text_encoder"
)
TEACHER_FORMS = (
    "train, train:mlp:256,128, train:cnn:32,64, column:logits:cat,dog, column:probabilities:cat,dog, column:label, "
    "onnx:MODEL:logits:cat,dog or transformer:MODEL, MODEL being a file, an id or a name"
)
NOISE_FORMS = "class_swap:0.2 or symmetric:0.2"

_SIZED: dict[str, Callable[[tuple[int, ...] | None], Architecture]] = {
    "mlp": lambda sizes: Mlp(hidden_sizes=sizes),
    "cnn": lambda sizes: Cnn(channels=sizes),
    "resnet": lambda sizes: Resnet(channels=sizes),
    "mobilenet": lambda sizes: Mobilenet(channels=sizes),
}
_ONNX = re.compile(r"(.+?):(logits|probabilities):(.+)")


def architecture(text: str, option: str) -> Architecture:
    """A network in one of STUDENT_FORMS."""
    kind, _, rest = text.partition(":")
    wrong = InvalidArgument.of(option, f"is {text!r}; write {STUDENT_FORMS}")
    try:
        if kind in _SIZED:
            return _SIZED[kind](tuple(int(size) for size in rest.split(",")) if rest else None)
        if kind == "bag":
            return Bag(embedding_size=int(rest) if rest else None)
        if kind == "auto":
            return _auto(rest)
    except (ValueError, TypeError):
        raise wrong from None
    if text == "text_encoder":
        return TextEncoder()
    raise wrong


def _auto(budget: str) -> Auto:
    """``max_kb=200,max_ms=0.5``. Raises TypeError for another name and ValueError for what is no number."""
    pairs = [part.partition("=") for part in budget.split(",")] if budget else []
    return Auto(**{name: float(number) for name, _, number in pairs})


def teacher_of(text: str) -> Teacher:
    """A teacher in one of TEACHER_FORMS; the model of an ``onnx`` or ``transformer`` one as it was written."""
    kind, _, rest = text.partition(":")
    if kind == "train":
        return TrainedTeacher(architecture=architecture(rest, "--teacher") if rest else None)
    if text == "column:label":
        return ColumnTeacher(outputs="label")
    outputs, _, names = rest.partition(":")
    if kind == "column" and outputs in ("logits", "probabilities") and names:
        return ColumnTeacher(outputs=outputs, class_names=tuple(names.split(",")))  # type: ignore[arg-type]
    if kind == "transformer" and rest:
        return TransformerTeacher(model=rest)
    if kind == "onnx" and (match := _ONNX.fullmatch(rest)):
        model, outputs, names = match.groups()
        return OnnxTeacher(model=model, outputs=outputs, class_names=tuple(names.split(",")))  # type: ignore[arg-type]
    why = " (the class of each position is never guessed)" if kind in ("column", "onnx") else ""
    raise InvalidArgument.of("--teacher", f"is {text!r}; write {TEACHER_FORMS}{why}")


def noise(text: str) -> PlantedNoise:
    """``class_swap:0.2`` or ``symmetric:0.2``."""
    kind, _, share = text.partition(":")
    try:
        return PlantedNoise(kind=kind, share=float(share))  # type: ignore[arg-type]
    except ValueError:
        raise InvalidArgument.of("--planted-noise", f"is {text!r}; write {NOISE_FORMS}") from None

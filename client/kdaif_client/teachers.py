"""Who labels the unlabelled rows. ``None`` means the server's default, which the docstrings name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from kdaif_client.architectures import Architecture

if TYPE_CHECKING:
    from kdaif_client.types import Dataset

__all__ = [
    "ColumnTeacher",
    "EnsembleTeacher",
    "Member",
    "OnnxTeacher",
    "PlantedNoise",
    "Teacher",
    "TrainedTeacher",
    "TransformerTeacher",
]


@dataclass(frozen=True)
class PlantedNoise:
    """A rehearsal: corrupts a share of the soft targets, to see whether the weights find the wrong ones.

    Attributes:
        kind: ``"class_swap"`` (class c trades places with c + 1) or ``"symmetric"`` (with a random other class).
        share: of the unlabelled rows, 0 to 1.
    """

    kind: Literal["class_swap", "symmetric"]
    share: float


@dataclass(frozen=True)
class TrainedTeacher:
    """A larger network, trained on the labelled rows before the job distils.

    Attributes:
        architecture: default ``Mlp((256, 128))`` for tables, ``Resnet()`` for pictures, and for text a ``Bag`` of 128
            with 256 hidden.
        epochs: default 100.
        planted_noise: only for rehearsals.
        networks: whose mean is the teacher, each from another seed. Default 1.
        folds: of the labelled rows. With 2 or more, each network is trained without one fold, so that what it says of
            that fold's rows is honest; the teacher is the mean of all. Default 1: no fold is held out.
    """

    architecture: Architecture | None = None
    epochs: int | None = None
    planted_noise: PlantedNoise | None = None
    networks: int | None = None
    folds: int | None = None


@dataclass(frozen=True)
class ColumnTeacher:
    """Soft targets or labels that came with the data, joined by id.

    Attributes:
        outputs: which column is read: ``teacher_logits`` or ``teacher_probabilities``, lists of one number per class;
            or ``teacher_label``, a class name or a list of votes with null for none.
        class_names: the class of each position in the list. Positions are never guessed. Not for ``"label"``.
        dataset: where the column is; left out, in the unlabelled set.
        planted_noise: only for rehearsals.
        label_smoothing: share of the soft target of ``"label"`` that is spread over all classes. Default 0.1.
    """

    outputs: Literal["logits", "probabilities", "label"]
    class_names: Sequence[str] | None = None
    dataset: Dataset | str | None = None
    planted_noise: PlantedNoise | None = None
    label_smoothing: float | None = None


@dataclass(frozen=True)
class OnnxTeacher:
    """A model file of one's own, run on the rows in a process that can neither write nor read other files.

    Attributes:
        model: what ``Client.upload_model`` answered.
        outputs: what the file says; never guessed.
        class_names: the class of each position of the output.
        input: its name. Default: the only one.
        output: its name. Default: the only one of floats and of width [N, classes].
        layout: of pictures. Default: inferred from the shape of the input where that is clear.
        scale: pixels are (x * scale - mean) / std before they go in. Default: 1/255 where the input is of floats.
        mean: per channel. Default: 0.
        std: per channel. Default: 1.
        max_memory_mib: memory of the process in MiB. Default 4,096.
        max_seconds: wall-clock limit of the process. Default 3,600.
        planted_noise: only for rehearsals.
    """

    model: Dataset | str
    outputs: Literal["logits", "probabilities"]
    class_names: Sequence[str]
    input: str | None = None
    output: str | None = None
    layout: Literal["nhwc", "nchw"] | None = None
    scale: float | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    max_memory_mib: int | None = None
    max_seconds: int | None = None
    planted_noise: PlantedNoise | None = None


@dataclass(frozen=True)
class TransformerTeacher:
    """A text encoder in a Hugging Face directory, with a head trained on the labelled rows.

    Attributes:
        model: what ``Client.upload_model`` answered for the directory.
        pooling: ``"mean"`` (default) of all word pieces, or ``"cls"``, the first.
        max_tokens: word pieces of a text that are read. Default 128.
        folds: of the labelled rows, as for a trained teacher. Default 5.
        planted_noise: only for rehearsals.
    """

    model: Dataset | str
    pooling: Literal["mean", "cls"] | None = None
    max_tokens: int | None = None
    folds: int | None = None
    planted_noise: PlantedNoise | None = None


Member: TypeAlias = TrainedTeacher | ColumnTeacher | OnnxTeacher | TransformerTeacher


@dataclass(frozen=True)
class EnsembleTeacher:
    """Several teachers, made one.

    Attributes:
        members: 2 to 16, without planted noise of their own.
        combine: ``"mean"`` (default) of their probabilities, or ``"by_validation"``, weighted by how well each agrees
            with the validation labels.
        planted_noise: only for rehearsals.
    """

    members: Sequence[Member]
    combine: Literal["mean", "by_validation"] | None = None
    planted_noise: PlantedNoise | None = None


Teacher: TypeAlias = Member | EnsembleTeacher

"""Who labels the unlabelled rows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from kdaif.records.architectures import Architecture, Auto, Bag, InputKind, Mlp, Resnet
from kdaif.records.base import ClassName, DatasetId, SpecModel, require_unique
from kdaif.records.dataset import DatasetKind


class TrainedTeacher(SpecModel):
    """A larger network trained on the labelled rows, or the mean of several."""

    kind: Literal["train"] = "train"
    architecture: Architecture | None = None
    epochs: int = Field(default=100, ge=1, le=10_000)
    networks: int = Field(default=1, ge=1, le=32)
    folds: int = Field(default=1, ge=1, le=32)

    @model_validator(mode="after")
    def _declared(self) -> TrainedTeacher:
        if isinstance(self.architecture, Auto):
            raise ValueError("architecture 'auto' is for the student: a teacher has no budget; name its architecture")
        if self.folds > 1 and self.networks not in (1, self.folds):
            raise ValueError(f"with {self.folds} folds there is one network for each; leave networks out")
        return self


def teacher_network_of(source: TrainedTeacher, kind: InputKind) -> Architecture:
    """The teacher's network: the one that is named, else one that is made for such rows and larger than the student.

    Over the pixels of pictures an `Mlp` knows less than the convolutions of the default student, which would then be
    taught by the weaker of the two.
    """
    if source.architecture is not None:
        return source.architecture
    match kind:
        case "image":
            return Resnet()
        case "text":
            return Bag(embedding_size=128, hidden_sizes=(256,))
        case "numeric":
            return Mlp(hidden_sizes=(256, 128))


class ColumnTeacher(SpecModel):
    """Soft targets or labels that came with the data, joined by id, their positions bound to class names."""

    kind: Literal["column"] = "column"
    dataset: DatasetId | None = None
    outputs: Literal["logits", "probabilities", "label"]
    class_names: tuple[ClassName, ...] = Field(default=(), validate_default=True)
    label_smoothing: float = Field(default=0.1, ge=0.0, lt=1.0)

    @field_validator("class_names")
    @classmethod
    def _classes(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        require_unique(names, "class_names")
        if info.data.get("outputs") in ("logits", "probabilities") and len(names) < 2:
            raise ValueError("must name the class of each position: 2 or more")
        return names

    @model_validator(mode="after")
    def _smooths_labels_alone(self) -> ColumnTeacher:
        smoothed = self.label_smoothing != ColumnTeacher.model_fields["label_smoothing"].default
        if self.outputs != "label" and smoothed:
            raise ValueError(
                f"label_smoothing is {self.label_smoothing:g}, and has no effect on {self.outputs}: it is for outputs "
                "'label'; leave it out"
            )
        return self

    @property
    def column(self) -> str:
        """The column that is read."""
        return f"teacher_{self.outputs}"


class OnnxTeacher(SpecModel):
    """A model file of the user's own, run in a sandbox."""

    kind: Literal["onnx"] = "onnx"
    model: DatasetId
    outputs: Literal["logits", "probabilities"]
    class_names: tuple[ClassName, ...] = Field(min_length=2)
    input: str | None = None
    output: str | None = None
    layout: Literal["nhwc", "nchw"] | None = None
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[Annotated[float, Field(gt=0.0)], ...] = ()
    max_memory_mib: int = Field(default=4096, ge=256, le=1_048_576)
    max_seconds: int = Field(default=3600, ge=1, le=30 * 86_400)

    @model_validator(mode="after")
    def _unique_classes(self) -> OnnxTeacher:
        require_unique(self.class_names, "class_names")
        return self


class TransformerTeacher(SpecModel):
    """A text encoder in a Hugging Face directory, frozen, with a linear head trained on the labelled rows."""

    kind: Literal["transformer"] = "transformer"
    model: DatasetId
    pooling: Literal["mean", "cls"] = "mean"
    max_tokens: int = Field(default=128, ge=1, le=8192)
    folds: int = Field(default=5, ge=1, le=32)


Member = Annotated[TrainedTeacher | ColumnTeacher | OnnxTeacher | TransformerTeacher, Field(discriminator="kind")]


class EnsembleTeacher(SpecModel):
    """Several teachers, made one."""

    kind: Literal["ensemble"] = "ensemble"
    members: tuple[Member, ...] = Field(min_length=2, max_length=16)
    combine: Literal["mean", "by_validation"] = "mean"


class PlantedNoise(SpecModel):
    """A rehearsal: corrupts the soft targets of a share of the unlabelled rows."""

    kind: Literal["class_swap", "symmetric"]
    share: float = Field(ge=0.0, le=1.0)


Source = Annotated[
    TrainedTeacher | ColumnTeacher | OnnxTeacher | TransformerTeacher | EnsembleTeacher, Field(discriminator="kind")
]


class Teacher(SpecModel):
    """Who labels the unlabelled rows."""

    source: Source = TrainedTeacher()
    planted_noise: PlantedNoise | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        """The teachers that are asked: one, or those of an ensemble."""
        return self.source.members if isinstance(self.source, EnsembleTeacher) else (self.source,)

    def member_field(self, position: int) -> str:
        """Where a member stands in the request."""
        if isinstance(self.source, EnsembleTeacher):
            return f"spec.teacher.ensemble.members[{position}].{self.source.members[position].kind}"
        return f"spec.teacher.{self.source.kind}"

    def dataset_ids(self) -> dict[str, str]:
        """Data set id by role: ``teacher`` or ``teacher_0``, ``teacher_1`` and so on for an ensemble's members."""
        single = not isinstance(self.source, EnsembleTeacher)
        found = {}
        for position, member in enumerate(self.members):
            given = None
            match member:
                case ColumnTeacher():
                    given = member.dataset
                case OnnxTeacher() | TransformerTeacher():
                    given = member.model
                case TrainedTeacher():
                    pass
            if given is not None:
                found["teacher" if single else f"teacher_{position}"] = given
        return found

    def dataset_kinds(self) -> dict[str, tuple[DatasetKind, str]]:
        """Of each role of `dataset_ids`: what its data set must be, and where it stands in the request."""
        kinds = {
            "column": (DatasetKind.TABLE, "dataset"),
            "onnx": (DatasetKind.ONNX, "model"),
            "transformer": (DatasetKind.TRANSFORMER, "model"),
        }
        found = {}
        for role in self.dataset_ids():
            position = int(role.partition("_")[2] or 0)
            kind, name = kinds[self.members[position].kind]
            found[role] = (kind, f"{self.member_field(position)}.{name}")
        return found

"""DistillationSpec: what to distil, from what, into what. The one place where defaults and limits live."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

DatasetId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
ClassName = Annotated[str, Field(min_length=1, max_length=256)]
Width = Annotated[int, Field(ge=1, le=8192)]
ArmName = Literal["supervised", "uniform", "oracle"]
Solver = Literal["cg", "ekfac", "head"]
Loss = Literal["forward_kl", "reverse_kl", "symmetric_kl", "dkd"]
Schedule = Literal["constant", "cosine"]


class SpecModel(BaseModel):
    """Frozen, and an unknown field is an error rather than an option that is silently gone."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Mlp(SpecModel):
    """Multilayer perceptron over the flattened, standardised features."""

    kind: Literal["mlp"] = "mlp"
    hidden_sizes: tuple[Width, ...] = Field(default=(64,), min_length=1, max_length=16)
    dropout: float = Field(default=0.0, ge=0.0, le=0.9)


class Cnn(SpecModel):
    """Blocks of 3 x 3 convolution, BatchNorm, ReLU and halving, then one hidden layer. For images."""

    kind: Literal["cnn"] = "cnn"
    channels: tuple[Width, ...] = Field(default=(16, 32), min_length=1, max_length=8)
    hidden_size: Width = 64
    dropout: float = Field(default=0.0, ge=0.0, le=0.9)


Architecture = Annotated[Mlp | Cnn, Field(discriminator="kind")]


class TrainedTeacher(SpecModel):
    """A larger network trained on the labelled rows."""

    kind: Literal["train"] = "train"
    architecture: Architecture = Mlp(hidden_sizes=(256, 128))
    epochs: int = Field(default=100, ge=1, le=10_000)


class ColumnTeacher(SpecModel):
    """Soft targets that came with the data, joined by id, their positions bound to class names."""

    kind: Literal["column"] = "column"
    dataset: DatasetId | None = None
    outputs: Literal["logits", "probabilities"]
    class_names: tuple[ClassName, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _unique_classes(self) -> ColumnTeacher:
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError("class_names holds a name twice")
        return self

    @property
    def column(self) -> str:
        """The column that is read."""
        return f"teacher_{self.outputs}"


class PlantedNoise(SpecModel):
    """A rehearsal: corrupts the soft targets of a share of the unlabelled rows."""

    kind: Literal["class_swap", "symmetric"]
    share: float = Field(ge=0.0, le=1.0)


class Teacher(SpecModel):
    """Who labels the unlabelled rows."""

    source: Annotated[TrainedTeacher | ColumnTeacher, Field(discriminator="kind")] = TrainedTeacher()
    planted_noise: PlantedNoise | None = None


class Training(SpecModel):
    """The loss and the optimiser. All arms share it.

    Rounds are short, so that weights come before wrong targets are memorised and follow what the student still lacks;
    a scoring costs about a third of an epoch of a small student. The settings from ``loss`` on are off by default.
    """

    rounds: int = Field(default=8, ge=1, le=1000)
    epochs_per_round: int = Field(default=5, ge=1, le=1000)
    batch_size: int = Field(default=64, ge=2, le=65_536)
    learning_rate: float = Field(default=1e-3, gt=0.0, le=1.0)
    weight_decay: float = Field(default=5e-4, ge=0.0, le=1.0)
    temperature: float = Field(default=2.0, gt=0.0, le=100.0)
    hard_label_weight: float = Field(default=1.0, ge=0.0, le=1000.0)
    soft_label_weight: float = Field(default=1.0, ge=0.0, le=1000.0)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    seeds: int = Field(default=3, ge=1, le=32)
    loss: Loss = "forward_kl"
    dkd_alpha: float = Field(default=1.0, ge=0.0, le=1000.0)
    dkd_beta: float = Field(default=8.0, ge=0.0, le=1000.0)
    standardise_logits: bool = False
    schedule: Schedule = "constant"
    ema_decay: float | None = Field(default=None, gt=0.0, lt=1.0)
    class_balanced: bool = False
    patience_rounds: int | None = Field(default=None, ge=1, le=1000)

    @model_validator(mode="after")
    def _some_loss(self) -> Training:
        if self.hard_label_weight == 0 and self.soft_label_weight == 0:
            raise ValueError("hard_label_weight and soft_label_weight are both 0: nothing would be learned")
        if self.loss == "dkd" and self.dkd_alpha == 0 and self.dkd_beta == 0:
            raise ValueError("dkd_alpha and dkd_beta are both 0: nothing would be learned from the soft targets")
        return self

    def misfits(self, n_classes: int) -> dict[str, str]:
        """What cannot be trained with so few classes: why, and what to do, by field name."""
        if n_classes > 2:
            return {}
        found = {}
        if self.loss == "dkd":
            found["loss"] = "'dkd' needs 3 or more classes: with 2 nothing is left beside the target; use forward_kl"
        if self.standardise_logits:
            why = "needs 3 or more classes: 2 standardised logits are always 1 and -1 and teach nothing; leave it out"
            found["standardise_logits"] = why
        return found


class Weighting(SpecModel):
    """How influence and agreement become a weight.

    The default solver sees the last layer alone, in closed form: enough to weigh with, and cheap enough for 32 blocks
    of V, whose spread is the standard error that each influence is judged by. To audit single scores rather than to
    weigh, take ``cg`` with more steps and curvature rows, and few blocks, since it solves for each.

    ``canary_bar`` is the AUROC under which weights that cannot find planted wrong labels are not shipped; 0 skips the
    check. At .5, a coin, only weights that are worse than none fail it.
    """

    method: Literal["influence", "uniform"] = "influence"
    signals: Literal["both", "influence", "agreement"] = "both"
    target: Literal["keep", "blend"] = "blend"
    solver: Solver = "head"
    curvature_rows: int = Field(default=256, ge=2, le=1_000_000)
    cg_steps: int = Field(default=3, ge=1, le=1000)
    damping: float | None = Field(default=None, gt=0.0, le=1e6)
    blocks: int = Field(default=32, ge=2, le=1024)
    sharpness: float = Field(default=2.0, gt=0.0, le=100.0)
    floor: float = Field(default=0.0, ge=0.0, lt=1.0)
    smoothing: float = Field(default=0.5, ge=0.0, lt=1.0)
    scout_epochs: int = Field(default=3, ge=0, le=1000)
    rounds_per_scoring: int = Field(default=2, ge=1, le=1000)
    canary_bar: float = Field(default=0.5, ge=0.0, le=1.0)


class Splits(SpecModel):
    """Shares set aside where no data set is given for the part."""

    validation_share: float = Field(default=0.3, gt=0.0, lt=0.9)
    test_share: float = Field(default=0.2, gt=0.0, lt=0.9)
    gate_share: float = Field(default=0.2, gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Splits:
        if self.validation_share + self.test_share > 0.9:
            raise ValueError("validation_share + test_share leave under 10 % of the labelled rows for training")
        return self


class DistillationSpec(SpecModel):
    """One distillation job, checked. Data sets are ids within the job's tenant."""

    labeled: DatasetId
    unlabeled: DatasetId
    validation: DatasetId | None = None
    test: DatasetId | None = None
    external: DatasetId | None = None
    class_names: tuple[ClassName, ...] | None = Field(default=None, min_length=2)
    teacher: Teacher = Teacher()
    student: Architecture = Mlp()
    training: Training = Training()
    weighting: Weighting = Weighting()
    control_arms: tuple[ArmName, ...] | None = None
    splits: Splits = Splits()
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:[0-9]{1,2})?)$")
    max_runtime_s: int = Field(default=86_400, ge=1, le=30 * 86_400)
    max_attempts: int = Field(default=3, ge=1, le=100)

    @model_validator(mode="after")
    def _consistent(self) -> DistillationSpec:
        names = self.class_names
        if names is not None and len(set(names)) != len(names):
            raise ValueError("class_names holds a name twice")
        if self.control_arms is not None and len(set(self.control_arms)) != len(self.control_arms):
            raise ValueError("control_arms holds a name twice")
        return self

    def dataset_ids(self) -> dict[str, str]:
        """Data set id by role; a role that is not given is left out."""
        roles = {
            "labeled": self.labeled,
            "unlabeled": self.unlabeled,
            "validation": self.validation,
            "test": self.test,
            "external": self.external,
        }
        if isinstance(self.teacher.source, ColumnTeacher):
            roles["teacher"] = self.teacher.source.dataset
        return {role: dataset for role, dataset in roles.items() if dataset is not None}

"""DistillationSpec: what to distil, from what, into what. The one place where defaults and limits live."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from kdaif.records.architectures import Architecture, Auto
from kdaif.records.base import ClassName, DatasetId, SpecModel, require_unique
from kdaif.records.dataset import DatasetKind
from kdaif.records.export import Export
from kdaif.records.monitoring import Monitoring
from kdaif.records.teachers import Teacher

ArmName = Literal["supervised", "uniform", "oracle"]
Solver = Literal["cg", "ekfac", "head"]
Loss = Literal["forward_kl", "reverse_kl", "symmetric_kl", "dkd"]
Schedule = Literal["constant", "cosine"]
# No character that the queue uses to join needs, nor one that a shell would take for its own.
WorkerLabel = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=/-]{0,62}$")]
ColumnName = Annotated[str, Field(min_length=1, max_length=256)]


class Inputs(SpecModel):
    """How the columns of the data sets become the student's input."""

    categorical_columns: tuple[ColumnName, ...] = Field(default=(), max_length=10_000)
    nullable_columns: tuple[ColumnName, ...] = Field(default=(), max_length=10_000)
    max_categories: int = Field(default=1000, ge=1, le=1_000_000)
    vocabulary_size: int = Field(default=8000, ge=300, le=1_000_000)
    max_tokens: int = Field(default=64, ge=1, le=4096)
    lower_case: bool = True
    image_height: int | None = Field(default=None, ge=1, le=4096)
    image_width: int | None = Field(default=None, ge=1, le=4096)

    @model_validator(mode="after")
    def _consistent(self) -> Inputs:
        require_unique(self.categorical_columns, "categorical_columns")
        require_unique(self.nullable_columns, "nullable_columns")
        if (self.image_height is None) != (self.image_width is None):
            raise ValueError("image_height and image_width go together; give both or neither")
        return self


class Checks(SpecModel):
    """What happens to rows that cannot be used."""

    max_rejected_share: float = Field(default=0.5, ge=0.0, le=1.0)


class Training(SpecModel):
    """The loss and the optimiser. All arms share it.

    Rounds are short, so that weights come before wrong targets are memorised and follow what the student still lacks;
    a scoring costs about a third of an epoch of a small student. The settings from ``loss`` on are off by default.

    With ``dual_head`` the student has two linear heads on one body while it trains: one learns the labels and predicts,
    the other learns the soft targets and stays behind (after Yang et al. 2024). Wrong soft targets then reach the body
    alone.
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
    augment: bool = False
    dual_head: bool = False

    @model_validator(mode="after")
    def _some_loss(self) -> Training:
        if self.hard_label_weight == 0 and self.soft_label_weight == 0:
            raise ValueError("hard_label_weight and soft_label_weight are both 0: nothing would be learned")
        if self.loss == "dkd" and self.dkd_alpha == 0 and self.dkd_beta == 0:
            raise ValueError("dkd_alpha and dkd_beta are both 0: nothing would be learned from the soft targets")
        if self.dual_head and self.hard_label_weight == 0:
            raise ValueError("hard_label_weight is 0, so with dual_head the head that predicts would learn nothing")
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
    weigh, take ``cg`` with more steps and curvature rows, and few blocks, since it solves for each. An EK-FAC of
    ``preconditioner_rows`` of them, such as 200, takes it there in a seventh to a quarter of the steps, and
    ``preconditioner_steps`` of ``cg`` on those rows alone, such as 6 on 400, in fewer still.

    ``canary_bar`` is the AUROC under which weights that cannot find planted wrong labels are not shipped; 0 skips the
    check. At .5, a coin, only weights that are worse than none fail it.

    ``cross_fit_folds`` K is for few labels: they are cut into K folds, each judges the pseudo-labels by a scout trained
    on the others, and then every label trains the students, of every arm. There is one scoring, before the first round,
    and only the gate rows are left to measure rounds on.

    Freezing is off by default. A later scoring is not used, and the weights stay, where the halves of V agree on it
    less than ``freeze_reliability``, or where the gradient on V has fallen under ``freeze_gradient_share`` of the
    first scoring's. From a rank correlation of ``settled_stability`` between two scorings on there are no more.

    ``rows_per_shard`` lets other workers score a pool of more rows in shards of about so many; 0 does not.
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
    cross_fit_folds: int = Field(default=0, ge=0, le=20)
    freeze_reliability: float | None = Field(default=None, ge=0.0, le=1.0)
    freeze_gradient_share: float | None = Field(default=None, gt=0.0, lt=1.0)
    settled_stability: float | None = Field(default=None, gt=0.0, le=1.0)
    preconditioner_rows: int = Field(default=0, ge=0, le=1_000_000)
    preconditioner_steps: int = Field(default=0, ge=0, le=1000)
    rows_per_shard: int = Field(default=0, ge=0, le=1_000_000_000)

    @model_validator(mode="after")
    def _preconditioned(self) -> Weighting:
        if self.preconditioner_rows and self.solver != "cg":
            raise ValueError(f"preconditioner_rows is for the solver cg, and this is {self.solver}; set either")
        if self.preconditioner_rows > self.curvature_rows:
            raise ValueError(
                f"preconditioner_rows is {self.preconditioner_rows}, and they are taken of the {self.curvature_rows} "
                "curvature_rows; raise those or take fewer"
            )
        if self.preconditioner_steps and not self.preconditioner_rows:
            raise ValueError("preconditioner_steps are taken on the preconditioner_rows, and those are 0; set both")
        return self

    @model_validator(mode="after")
    def _folds(self) -> Weighting:
        if self.cross_fit_folds == 1:
            raise ValueError("cross_fit_folds is 1: a fold is judged by a student of the others; use 2 or more, or 0")
        if self.cross_fit_folds and self.scout_epochs == 0:
            raise ValueError("cross_fit_folds needs scouts; set scout_epochs to 1 or more")
        return self


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


class Scheduling(SpecModel):
    """Who may run the job, how soon, and until when.

    ``priority`` counts among the jobs of one tenant; tenants take turns. ``deadline_s`` counts from the submission, or
    from a retry, through every wait and every attempt.
    """

    priority: int = Field(default=0, ge=-100, le=100)
    gpus: int = Field(default=0, ge=0, le=1024)
    worker_labels: tuple[WorkerLabel, ...] = Field(default=(), max_length=16)
    deadline_s: int | None = Field(default=None, ge=1, le=365 * 86_400)

    @model_validator(mode="after")
    def _consistent(self) -> Scheduling:
        require_unique(self.worker_labels, "worker_labels")
        return self


class OverridesFrom(SpecModel):
    """What people decided on single samples at another job of the tenant, up to and with one revision."""

    job: str = Field(pattern=r"^[0-9a-z]{1,64}$")
    revision: int = Field(ge=1)


class DistillationSpec(SpecModel):
    """One distillation job, checked. Data sets are ids within the job's tenant."""

    labeled: DatasetId
    unlabeled: DatasetId
    validation: DatasetId | None = None
    test: DatasetId | None = None
    external: DatasetId | None = None
    class_names: tuple[ClassName, ...] | None = Field(default=None, min_length=2)
    teacher: Teacher = Teacher()
    student: Architecture = Auto()
    initial_weights: DatasetId | None = None
    inputs: Inputs = Inputs()
    checks: Checks = Checks()
    training: Training = Training()
    weighting: Weighting = Weighting()
    control_arms: tuple[ArmName, ...] | None = None
    splits: Splits = Splits()
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:[0-9]{1,2})?)$")
    max_runtime_s: int = Field(default=86_400, ge=1, le=30 * 86_400)
    max_attempts: int = Field(default=3, ge=1, le=100)
    scheduling: Scheduling = Scheduling()
    monitoring: Monitoring = Monitoring()
    overrides: OverridesFrom | None = None
    export: Export = Export()

    @model_validator(mode="after")
    def _consistent(self) -> DistillationSpec:
        if self.weighting.cross_fit_folds and self.training.hard_label_weight == 0:
            raise ValueError("training.hard_label_weight is 0, so weighting.cross_fit_folds has no scouts; set either")
        if self.training.dual_head and self.weighting.method == "influence" and self.weighting.solver == "head":
            raise ValueError(
                "weighting.solver 'head' sees the head that predicts alone, and with training.dual_head no soft target "
                "reaches it; set weighting.solver to 'cg' or 'ekfac', or weighting.method to 'uniform'"
            )
        require_unique(self.class_names, "class_names")
        require_unique(self.control_arms, "control_arms")
        return self

    def dataset_ids(self) -> dict[str, str]:
        """Data set id by role; a role that is not given is left out."""
        roles = {
            "labeled": self.labeled,
            "unlabeled": self.unlabeled,
            "validation": self.validation,
            "test": self.test,
            "external": self.external,
            "initial_weights": self.initial_weights,
        }
        return {role: dataset for role, dataset in roles.items() if dataset is not None} | self.teacher.dataset_ids()

    def dataset_kinds(self) -> dict[str, tuple[DatasetKind, str]]:
        """Of each role of `dataset_ids`: what its data set must be, and where it stands in the request."""
        found = {role: (DatasetKind.TABLE, f"spec.{role}") for role in self.dataset_ids()}
        if self.initial_weights is not None:
            found["initial_weights"] = (DatasetKind.SAFETENSORS, "spec.initial_weights")
        return found | self.teacher.dataset_kinds()

"""What is submitted: frozen dataclasses. ``None`` means the server's default, which the docstrings name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

from kdaif_client.architectures import Architecture
from kdaif_client.teachers import Teacher

if TYPE_CHECKING:
    from kdaif_client.types import Dataset

__all__ = [
    "Checks",
    "Export",
    "Inputs",
    "Monitoring",
    "OverridesFrom",
    "Scheduling",
    "ScorecardShares",
    "Spec",
    "Splits",
    "Training",
    "Weighting",
]


@dataclass(frozen=True)
class Inputs:
    """How the columns of the data sets become the student's input.

    Attributes:
        categorical_columns: columns of integers that name categories. Columns of text always do.
        nullable_columns: columns in which a null is a value to learn from. Elsewhere a null rejects its row.
        max_categories: the student tells apart so many of a column, the most frequent. Default 1,000.
        vocabulary_size: word pieces that the tokenizer of a ``text`` column may learn. Default 8,000.
        max_tokens: word pieces of a text that are read; the rest is cut off. Default 64.
        lower_case: texts are read in lower case and without accents. Default true.
        image_height: encoded pictures are scaled to it. Default: all must be of one size.
        image_width: goes with ``image_height``.
    """

    categorical_columns: Sequence[str] | None = None
    nullable_columns: Sequence[str] | None = None
    max_categories: int | None = None
    vocabulary_size: int | None = None
    max_tokens: int | None = None
    lower_case: bool | None = None
    image_height: int | None = None
    image_width: int | None = None


@dataclass(frozen=True)
class Checks:
    """What happens to rows that cannot be used.

    Attributes:
        max_rejected_share: of a data set's rows, 0 to 1; above it the job is refused. Default 0.5.
    """

    max_rejected_share: float | None = None


@dataclass(frozen=True)
class Training:
    """The loss and the optimiser, the same for all arms.

    Attributes:
        rounds: default 8.
        epochs_per_round: passes over the unlabelled rows per round. Default 5.
        batch_size: default 64.
        learning_rate: default 0.001.
        weight_decay: default 0.0005.
        temperature: T of the soft targets, above 0 and at most 100. Default 2.
        hard_label_weight: of the human labels' loss. Default 1.
        soft_label_weight: of the distillation loss. Default 1.
        seed: default 0.
        seeds: how many seeds each arm is trained with. Default 3.
        loss: of a soft target q against the student p. ``"forward_kl"`` (default), KL(q || p); ``"reverse_kl"``,
            KL(p || q); ``"symmetric_kl"``, the mean of both; ``"dkd"``, decoupled, for 3 or more classes.
        dkd_alpha: weight of the target class's part of ``"dkd"``. Default 1.
        dkd_beta: weight of the other classes' part of ``"dkd"``. Default 8.
        standardise_logits: each row's logits to mean 0 and spread 1 before the temperature. Default false.
        schedule: ``"constant"`` (default) or ``"cosine"``, the learning rate falling to 0 over all steps of an arm.
        ema_decay: of a moving average of the weights, which then is the student; 0 to 1. Default: no average.
        class_balanced: labelled rows are drawn so that each class comes equally often. Default false.
        patience_rounds: an arm ends after so many rounds without a lower validation loss, and its best round's student
            is taken. Default: all rounds run, and the last student is taken.
        augment: pictures are shifted and mirrored, word pieces left out, in training alone. Default false.
        dual_head: while it trains, one head learns the labels and predicts, another the soft targets. Default false.
            Needs ``Weighting.solver`` ``"cg"`` or ``"ekfac"``; the other head is left behind.
    """

    rounds: int | None = None
    epochs_per_round: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    temperature: float | None = None
    hard_label_weight: float | None = None
    soft_label_weight: float | None = None
    seed: int | None = None
    seeds: int | None = None
    loss: Literal["forward_kl", "reverse_kl", "symmetric_kl", "dkd"] | None = None
    dkd_alpha: float | None = None
    dkd_beta: float | None = None
    standardise_logits: bool | None = None
    schedule: Literal["constant", "cosine"] | None = None
    ema_decay: float | None = None
    class_balanced: bool | None = None
    patience_rounds: int | None = None
    augment: bool | None = None
    dual_head: bool | None = None


@dataclass(frozen=True)
class Weighting:
    """How the influence of a sample becomes its weight.

    Attributes:
        method: ``"influence"`` (default) or ``"uniform"``, plain distillation.
        target: ``"blend"`` (default) moves a down-weighted target towards the student's view; ``"keep"`` does not.
        signals: what a weight is made of: ``"both"`` (default), ``"influence"`` or ``"agreement"`` alone.
        solver: of the influence solve. ``"head"`` (default), the last layer alone in closed form; ``"ekfac"``,
            eigenvalue-corrected Kronecker factors of all linear and convolutional layers; ``"cg"``, conjugate gradient.
        curvature_rows: rows for the Gauss-Newton products. Default 256.
        cg_steps: conjugate-gradient steps. Default 3.
        damping: added to the Gauss-Newton matrix. Default: from the gradient itself.
        blocks: of validation rows, for standard errors. Default 32.
        sharpness: slope of the sigmoids from log-odds to the two factors of a weight. Default 2.
        floor: smallest weight before normalising, 0 to below 1. Default 0.
        smoothing: share of what the student believed in former rounds that is kept. Default 0.5.
        scout_epochs: passes of a student that learns from labels alone, to judge pseudo-labels first. Default 3.
        rounds_per_scoring: weights are renewed before every round of this many. Default 2.
        canary_bar: AUROC, 0 to 1, under which weights that cannot find planted wrong labels are not shipped, but the
            uniform student is. 0 skips the check. Default 0.5.
        cross_fit_folds: for few labels, so many folds of them take turns as the judge. Default 0.
            With 0 the validation rows judge, and do not train; else every label trains.
        freeze_reliability: split-half reliability under which a later scoring is not used and the weights stay.
            Default: any is used.
        freeze_gradient_share: the same where the gradient on the validation rows has fallen under this share of the
            first scoring's. Default: any is used.
        settled_stability: rank correlation of two scorings' weights from which on there are no more scorings. Default:
            weights are renewed to the end.
        preconditioner_rows: so many of the curvature rows make an EK-FAC that ``"cg"`` is preconditioned with, which
            takes fewer steps to the exact answer; 0 is none. Default 0.
        preconditioner_steps: so many steps of conjugate gradient on those rows alone are the preconditioner, with an
            EK-FAC of half of them, for the fewest products with all; 0 is the EK-FAC alone. Default 0.
        rows_per_shard: a larger pool is scored in shards of about so many rows, by every worker that is free; 0 is by
            the job's own worker alone. Default 0.
    """

    method: Literal["influence", "uniform"] | None = None
    signals: Literal["both", "influence", "agreement"] | None = None
    target: Literal["keep", "blend"] | None = None
    solver: Literal["cg", "ekfac", "head"] | None = None
    curvature_rows: int | None = None
    cg_steps: int | None = None
    damping: float | None = None
    blocks: int | None = None
    sharpness: float | None = None
    floor: float | None = None
    smoothing: float | None = None
    scout_epochs: int | None = None
    rounds_per_scoring: int | None = None
    canary_bar: float | None = None
    cross_fit_folds: int | None = None
    freeze_reliability: float | None = None
    freeze_gradient_share: float | None = None
    settled_stability: float | None = None
    preconditioner_rows: int | None = None
    preconditioner_steps: int | None = None
    rows_per_shard: int | None = None


@dataclass(frozen=True)
class Splits:
    """Shares that are set aside where no data set is given for the part.

    Attributes:
        validation_share: of the labelled rows. Default 0.3.
        test_share: of the labelled rows. Default 0.2.
        gate_share: of the validation rows, kept from the weights for calibration. Default 0.2.
    """

    validation_share: float | None = None
    test_share: float | None = None
    gate_share: float | None = None


@dataclass(frozen=True)
class Scheduling:
    """Who may run the job, how soon, and until when.

    Attributes:
        priority: -100 to 100; among the jobs of one tenant, higher ones start first. Default 0.
        gpus: that the worker must have. Default 0.
        worker_labels: that the worker must carry, all of them.
        deadline_s: seconds from the submission, or a retry, by which the job must be over, whatever it waits for; else
            it fails with ``DEADLINE``. Default: none.
    """

    priority: int | None = None
    gpus: int | None = None
    worker_labels: Sequence[str] | None = None
    deadline_s: int | None = None


@dataclass(frozen=True)
class ScorecardShares:
    """Of the four axes in a scorecard's composite, 0 or more; only their proportions count. A ``None`` has no say."""

    sustainability: float | None = None
    accuracy: float | None = None
    fairness: float | None = None
    explainability: float | None = None


@dataclass(frozen=True)
class Monitoring:
    """Bars of the alarms, and what an alarm does. A bar of 0 switches its alarm off.

    Attributes:
        on_alarm: ``"report"`` (default) or ``"pause"``: the job waits in AWAITING_REVIEW for a person.
        group_floor: lowest mean weight of a group, where the mean over all rows is 1. Default 0.5.
        fewest_group_rows: a smaller group gets no verdict. Default 30.
        class_drift: largest share of the unlabelled rows' weight in other classes than V's rows. Default 0.3.
        effective_share: smallest effective sample size, as a share of the unlabelled rows. Default 0.2.
        reliability: smallest rank correlation of the influences of two halves of the validation rows. Default 0.05.
        scorecard_shares: of the axes in the scorecard's composite. Default: equal ones.
        explain_ids: ids, as text, of samples whose pairs and neighbours shall be found whatever they weigh, at most
            1,000. Beside them those of overridden samples are, and of the extremes.
        explained_rows: how many of those, of each class the most harmful and most helpful ones. Default 500.
        explain_seconds: of the job's time that this may take; 0 leaves it out. Default 5.
    """

    on_alarm: Literal["report", "pause"] | None = None
    group_floor: float | None = None
    fewest_group_rows: int | None = None
    class_drift: float | None = None
    effective_share: float | None = None
    reliability: float | None = None
    scorecard_shares: ScorecardShares | None = None
    explain_ids: Sequence[str] | None = None
    explained_rows: int | None = None
    explain_seconds: float | None = None


@dataclass(frozen=True)
class OverridesFrom:
    """What people decided on single samples at another job, up to and with one revision.

    Attributes:
        job: its resource name or id.
        revision: of ``Job.override_revisions``.
    """

    job: str
    revision: int


@dataclass(frozen=True)
class Export:
    """Variants of the student beside the fp32 file, and the gate that each has to pass to be in the bundle.

    Attributes:
        variants: of ``"fp16"`` and ``"int8"``, those to try. ``("fp32",)`` tries none. Default: both.
        min_runtime: oldest release of onnxruntime that must read the files, such as ``"1.16"``. Default: none.
        max_class_drop_points: how many points of per cent a class may lose on the test rows. Default 2.
        min_agreement: least share of the rows in the same class as by the fp32 file. Default 0.99.
        min_gain: a variant must be smaller or faster than the fp32 file by this share. Default 0.1.
        max_slowdown: a smaller variant may be slower by this share at batch 1. Default 0.25.
        max_kb: of the fp32 file of a network that the spec names, in 1,000 bytes; ``Auto`` has its own. Default: none.
        max_ms: of one row on one thread, likewise. Default: none.
    """

    variants: Sequence[str] | None = None
    min_runtime: str | None = None
    max_class_drop_points: float | None = None
    min_agreement: float | None = None
    min_gain: float | None = None
    max_slowdown: float | None = None
    max_kb: float | None = None
    max_ms: float | None = None


@dataclass(frozen=True)
class Spec:
    """A whole job as it is submitted; the arguments of ``Client.submit`` under the same names."""

    labeled: Dataset | str
    unlabeled: Dataset | str
    validation: Dataset | str | None = None
    test: Dataset | str | None = None
    external: Dataset | str | None = None
    class_names: Sequence[str] | None = None
    teacher: Teacher | None = None
    student: Architecture | None = None
    training: Training | None = None
    weighting: Weighting | None = None
    control_arms: Sequence[str] | None = None
    splits: Splits | None = None
    device: str | None = None
    max_runtime_s: int | None = None
    max_attempts: int | None = None
    inputs: Inputs | None = None
    checks: Checks | None = None
    initial_weights: Dataset | str | None = None
    scheduling: Scheduling | None = None
    monitoring: Monitoring | None = None
    overrides: OverridesFrom | None = None
    export: Export | None = None


class SpecOptions(TypedDict, total=False):
    """The settings of a ``Spec`` beside its data sets, as the named arguments of ``Client.submit``."""

    class_names: Sequence[str] | None
    teacher: Teacher | None
    student: Architecture | None
    training: Training | None
    weighting: Weighting | None
    control_arms: Sequence[str] | None
    splits: Splits | None
    device: str | None
    max_runtime_s: int | None
    max_attempts: int | None
    inputs: Inputs | None
    checks: Checks | None
    initial_weights: Dataset | str | None
    scheduling: Scheduling | None
    monitoring: Monitoring | None
    overrides: OverridesFrom | None
    export: Export | None

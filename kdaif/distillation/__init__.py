"""The distillation objective and the steps that lower it."""

from kdaif.distillation.augmentation import augmented
from kdaif.distillation.averaging import moving_average
from kdaif.distillation.beliefs import BeliefRecord, label_logits
from kdaif.distillation.losses import (
    blended_log_targets,
    distillation_loss,
    log_probabilities,
    objective,
    weighted_mean,
)
from kdaif.distillation.optimisation import LabeledRows, SoftRows, is_divisible, train_steps
from kdaif.distillation.schedule import Schedule, Step, learning_rates, round_schedule
from kdaif.distillation.soft_losses import (
    decoupled_loss,
    reverse_divergence,
    soft_log_targets,
    soft_losses,
    standardised,
)

__all__ = [
    "BeliefRecord",
    "LabeledRows",
    "Schedule",
    "SoftRows",
    "Step",
    "augmented",
    "blended_log_targets",
    "decoupled_loss",
    "distillation_loss",
    "is_divisible",
    "label_logits",
    "learning_rates",
    "log_probabilities",
    "moving_average",
    "objective",
    "reverse_divergence",
    "round_schedule",
    "soft_log_targets",
    "soft_losses",
    "standardised",
    "train_steps",
    "weighted_mean",
]

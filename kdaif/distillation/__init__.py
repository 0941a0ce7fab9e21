"""The distillation objective and the steps that lower it."""

from kdaif.distillation.beliefs import BeliefRecord, label_logits
from kdaif.distillation.losses import (
    blended_log_targets,
    distillation_loss,
    log_probabilities,
    objective,
    weighted_mean,
)
from kdaif.distillation.optimisation import LabeledRows, SoftRows, train_steps
from kdaif.distillation.schedule import Step, round_schedule

__all__ = [
    "BeliefRecord",
    "LabeledRows",
    "SoftRows",
    "Step",
    "blended_log_targets",
    "distillation_loss",
    "label_logits",
    "log_probabilities",
    "objective",
    "round_schedule",
    "train_steps",
    "weighted_mean",
]

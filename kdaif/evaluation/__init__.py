"""What the arms reach on the test rows, whether a difference is more than chance, and one honest sentence about it."""

from kdaif.evaluation.arms import compare_arms, paired_p_value
from kdaif.evaluation.calibration import calibrate, expected_calibration_error, fit_temperature
from kdaif.evaluation.canary import canary_sentence
from kdaif.evaluation.classes import ClassAccuracy, per_class_accuracy, wilson_interval
from kdaif.evaluation.predict import predict
from kdaif.evaluation.ranking import auroc, auroc_stderr, chance_of_more
from kdaif.evaluation.shift import Sample, distribution_shifts
from kdaif.evaluation.verdict import external_verdict, verdict

__all__ = [
    "ClassAccuracy",
    "Sample",
    "auroc",
    "auroc_stderr",
    "calibrate",
    "canary_sentence",
    "chance_of_more",
    "compare_arms",
    "distribution_shifts",
    "expected_calibration_error",
    "external_verdict",
    "fit_temperature",
    "paired_p_value",
    "per_class_accuracy",
    "predict",
    "verdict",
    "wilson_interval",
]

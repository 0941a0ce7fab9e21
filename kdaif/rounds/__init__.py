"""Training arms, one round at a time: train, score influence, weigh."""

from kdaif.rounds.arm_rows import ArmRows
from kdaif.rounds.best_round import round_of_student
from kdaif.rounds.canaries import FEWEST_PER_KIND, Canaries, judge_canaries, plant_canaries, side_arm_spec
from kdaif.rounds.evidence import Evidence, evidence_of
from kdaif.rounds.new_student import sharded_student_of, student_of
from kdaif.rounds.reweighting import PoolScoring, row_loss_of
from kdaif.rounds.state import ArmState, student_alone
from kdaif.rounds.train_arm import RoundOutcome, train_arm, unshardable
from kdaif.rounds.weights_rows import WeightsRows

__all__ = [
    "FEWEST_PER_KIND",
    "ArmRows",
    "ArmState",
    "Canaries",
    "Evidence",
    "PoolScoring",
    "RoundOutcome",
    "WeightsRows",
    "evidence_of",
    "judge_canaries",
    "plant_canaries",
    "round_of_student",
    "row_loss_of",
    "sharded_student_of",
    "side_arm_spec",
    "student_alone",
    "student_of",
    "train_arm",
    "unshardable",
]

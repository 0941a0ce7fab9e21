"""Training arms, one round at a time: train, score influence, weigh."""

from kdaif.rounds.best_round import round_of_student
from kdaif.rounds.state import ArmState
from kdaif.rounds.train_arm import RoundOutcome, student_of, train_arm

__all__ = ["ArmState", "RoundOutcome", "round_of_student", "student_of", "train_arm"]

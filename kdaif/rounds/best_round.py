"""Early stopping: the round whose student did best on V, and when to wait no longer for a better one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from kdaif.rounds.state import ArmState, under


@dataclass(frozen=True, eq=False)
class BestRound:
    """The best round so far.

    Attributes:
        round: counted from 1.
        validation_loss: of its student; infinite where it was NaN.
        student: a copy of its student's parameters and buffers, by name.
    """

    round: int
    validation_loss: float
    student: dict[str, Tensor]

    def numbers(self) -> dict[str, float]:
        """For the arm's state."""
        return {"best_round": float(self.round), "best_validation_loss": self.validation_loss}

    @classmethod
    def from_state(cls, state: ArmState) -> BestRound | None:
        """Back from the arm's state; None where no best round was kept."""
        if "best_round" not in state.numbers:
            return None
        round_number, loss = int(state.numbers["best_round"]), state.numbers["best_validation_loss"]
        return cls(round_number, loss, under(state, "best/"))

    def waited_long_enough(self, round_number: int, patience: int) -> bool:
        """Whether the loss has not fallen for `patience` rounds by the end of this round."""
        return round_number - self.round >= patience


def better(best: BestRound | None, student: nn.Module, round_number: int, validation_loss: float) -> BestRound:
    """The round that just ended where its loss is lower than the best one's, else the best one."""
    loss = math.inf if math.isnan(validation_loss) else validation_loss
    if best is not None and loss >= best.validation_loss:
        return best
    kept = {name: tensor.detach().clone() for name, tensor in student.state_dict().items()}
    return BestRound(round_number, loss, kept)


def round_of_student(state: ArmState) -> int:
    """The round whose student `student_of` gives: the best one of an arm with patience, else the last."""
    return int(state.numbers.get("best_round", state.numbers["round"]))

"""Why a sample weighs what it weighs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kdaif_client.weight_types import Override, OverrideRevision, SampleWeight

__all__ = ["Explanation"]

# expit(1.702 z) is the normal distribution function of z within .01; the server weighs influence by it.
_NORMAL_AS_LOGISTIC = 1.702


@dataclass(frozen=True)
class Explanation:
    """One sample in the last round, before it, and what people decided on it.

    Attributes:
        weight: of the last scored round.
        helps: the factor of influence, 0 to 1: how sure it is that more weight lowers the loss on V; 1/2 is no say.
        right: the factor of agreement, 0 to 1: that the pseudo-label is right, in the student's eyes.
        history: every scored round, oldest first.
        decisions: those on this sample with their revisions, oldest first.
    """

    weight: SampleWeight
    helps: float
    right: float
    history: tuple[SampleWeight, ...]
    decisions: tuple[tuple[OverrideRevision, Override], ...]

    def __str__(self) -> str:
        w = self.weight
        lines = [
            f"{w.id} weighs {w.weight:.3f} of an average sample in round {w.round}.",
            f"Influence: more weight on it would {_moves(w)} the validation loss "
            f"({w.val_loss_change_if_upweighted:+.2e} ± {w.stderr:.1e}); factor {self.helps:.2f}, "
            f"z {w.z_influence:+.2f}.",
            f"Agreement: the teacher says {w.pseudo_label} ({w.teacher_confidence:.0%}), the student {w.student_label} "
            f"({w.student_confidence:.0%}); factor {self.right:.2f}, z {w.z_agreement:+.2f}.",
            "Over the rounds: " + ", ".join(f"{each.round}: {each.weight:.2f}" for each in self.history) + ".",
        ]
        if w.truth is not None:
            lines.append(f"The truth is {w.truth}.")
        if w.weight_override is not None:
            lines.append(f"A person gave it the weight {w.weight_override:g}, whatever is said above.")
        lines += [f"{_decision(each)} by {of.author}: {of.reason}" for of, each in self.decisions]
        return "\n".join(lines)


def explained(history: list[SampleWeight], revisions: tuple[OverrideRevision, ...], sharpness: float) -> Explanation:
    """Of one sample; ``history`` holds at least one round."""
    last = history[-1]
    decisions = tuple((of, each) for of in revisions for each in of.overrides if each.id == last.id)
    helps = _expit(_NORMAL_AS_LOGISTIC * sharpness * last.z_influence)
    return Explanation(last, helps, _expit(sharpness * last.z_agreement), tuple(history), decisions)


def _moves(weight: SampleWeight) -> str:
    if abs(weight.val_loss_change_if_upweighted) < 2 * weight.stderr:
        return "hardly move"
    return "raise" if weight.val_loss_change_if_upweighted > 0 else "lower"


def _decision(override: Override) -> str:
    match override.decision:
        case "pin":
            return f"Pinned to {override.weight:g}"
        case "relabel":
            return f"Relabelled as {override.class_name}"
        case "ban":
            return "Banned"
        case _:
            return "Cleared"


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

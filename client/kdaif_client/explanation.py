"""Why a sample weighs what it weighs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kdaif_client.evidence_types import Evidence, Neighbour, PairInfluence
from kdaif_client.weight_types import Override, OverrideRevision, Provenance, SampleWeight

__all__ = ["Explanation"]

# expit(1.702 z) is the normal distribution function of z within .01; the server weighs influence by it.
_NORMAL_AS_LOGISTIC = 1.702
# Of usual rows' distance: rows that a person would take for copies, or for one thing seen twice.
_NEARLY_THE_SAME = 0.1
_SHOWN = 5
# Shown as 0 %.
_NO_TRUST = 0.005


@dataclass(frozen=True)
class Explanation:
    """One sample in the last round, before it, and what people decided on it.

    Attributes:
        weight: of the last scored round.
        helps: the factor of influence, 0 to 1: how sure it is that more weight lowers the loss on V; 1/2 is no say.
        right: the factor of agreement, 0 to 1: that the pseudo-label is right, in the student's eyes, and in the
            teacher's as far as its own confidence proved to be worth something.
        history: every scored round, oldest first.
        decisions: those on this sample with their revisions, oldest first.
        evidence: whom it helps and harms, and what lies nearest to it, as far as the job computed it; ``None`` where
            nobody asked.
        provenance: what made the last weights, and how far the teacher's own confidence is trusted in them.
    """

    weight: SampleWeight
    helps: float
    right: float
    history: tuple[SampleWeight, ...]
    decisions: tuple[tuple[OverrideRevision, Override], ...]
    evidence: Evidence | None = None
    provenance: Provenance | None = None

    def __str__(self) -> str:
        w = self.weight
        lines = [
            f"{w.id} weighs {w.weight:.3f} of an average sample in round {w.round}.",
            f"Influence: more weight on it would {_moves(w)} the validation loss "
            f"({w.val_loss_change_if_upweighted:+.2e} ± {w.stderr:.1e}); factor {self.helps:.2f}, "
            f"z {w.z_influence:+.2f}.",
            f"Agreement: the teacher says {w.pseudo_label} ({w.teacher_confidence:.0%}), the student {w.student_label} "
            f"({w.student_confidence:.0%}); factor {self.right:.2f}, z {w.z_agreement:+.2f}.",
            *_trust(w, self.provenance),
            "Over the rounds: " + ", ".join(f"{each.round}: {each.weight:.2f}" for each in self.history) + ".",
        ]
        if w.truth is not None:
            lines.append(f"The truth is {w.truth}.")
        if w.weight_override is not None:
            lines.append(f"A person gave it the weight {w.weight_override:g}, whatever is said above.")
        if self.evidence is not None:
            lines += _found(w.id, self.evidence)
        lines += [f"{_decision(each)} by {of.author}: {of.reason}" for of, each in self.decisions]
        return "\n".join(lines)


def explained(
    history: list[SampleWeight],
    revisions: tuple[OverrideRevision, ...],
    sharpness: float,
    evidence: Evidence | None = None,
    provenance: Provenance | None = None,
) -> Explanation:
    """Of one sample; ``history`` holds at least one round."""
    last = history[-1]
    decisions = tuple((of, each) for of in revisions for each in of.overrides if each.id == last.id)
    helps = _expit(_NORMAL_AS_LOGISTIC * sharpness * last.z_influence)
    right = _expit(sharpness * last.z_agreement)
    return Explanation(last, helps, right, tuple(history), decisions, evidence, provenance)


def _trust(weight: SampleWeight, made_by: Provenance | None) -> list[str]:
    """How much of the agreement is the teacher's own confidence."""
    if made_by is None or made_by.teacher_trust is None:
        return []
    if made_by.teacher_trust < _NO_TRUST:
        return [
            "The teacher's own confidence has no say in that: where it was surer, the student, before it knew any "
            "pseudo-label, did not find it right more often."
        ]
    part = made_by.trust_in(weight.teacher_confidence)
    told = "" if part is None else f" That is {part:+.2f} of this z; a teacher less sure of the row would get less."
    return [
        f"The teacher's own confidence is trusted at {made_by.teacher_trust:.0%}: so much it proved to be "
        f"worth, in the eyes of the student before it knew any pseudo-label.{told}"
    ]


def _found(sample: str, evidence: Evidence) -> list[str]:
    search = evidence.search
    if search is None:
        return [
            "Whom it helps and harms is not known: this job has explained no samples. It does so when its weighted "
            "student is trained, unless monitoring.explain_seconds is 0."
        ]
    if not evidence.chosen:
        return [
            f"Whom it helps and harms is not known: it is not among the {search.samples:,} samples that the job "
            f"explained. Run it again with Monitoring(explain_ids=[{sample!r}]), or kdaif rerun --explain {sample}."
        ]
    lines = []
    if evidence.mean is None and search.damping == 0:
        lines.append(
            "Whom it helps and harms is not known: its soft target had a head of its own (training.dual_head), and "
            "does not reach the last layer, by which that is found."
        )
    elif evidence.mean is None:
        lines.append(
            f"Whom it helps and harms is not known: the {search.budget_s:g} s of monitoring.explain_seconds were over."
        )
    else:
        lines.append("Helps most: " + _pairs(evidence.helped))
        lines.append("Harms most: " + _pairs(evidence.harmed))
    lines.append(
        "Nearest in the student's eyes: " + "; ".join(_near(each) for each in evidence.neighbours[:_SHOWN]) + "."
    )
    if search.searched_rows < search.pool_rows:
        lines.append(f"The nearest were looked for among {search.searched_rows:,} of {search.pool_rows:,} rows.")
    return lines


def _pairs(pairs: tuple[PairInfluence, ...]) -> str:
    told = "; ".join(f"{pair.id} ({pair.label}) {pair.loss_change:+.2e}" for pair in pairs[:_SHOWN])
    return f"{told}." if told else "no validation row."


def _near(row: Neighbour) -> str:
    told = f"{row.id} ({row.dataset}, {row.label}) at {row.distance:.3f}"
    return f"{told}, nearly the same" if row.distance < _NEARLY_THE_SAME else told


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

"""Whom a sample helps and harms, and what lies nearest to it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Evidence", "EvidenceSearch", "Neighbour", "PairInfluence"]


@dataclass(frozen=True)
class PairInfluence:
    """How the loss on one validation row changes per unit of a sample's weight. Negative is help."""

    id: str
    label: str
    loss_change: float


@dataclass(frozen=True)
class Neighbour:
    """A row that the student sees nearly alike.

    ``dataset`` is ``labeled`` or ``unlabeled``; ``label`` a human's, or the teacher's for an unlabelled row;
    ``distance`` 0 where the student's last layer is given the same, and about 1 between any two rows.
    """

    dataset: str
    id: str
    label: str
    distance: float


@dataclass(frozen=True)
class EvidenceSearch:
    """How the job explained samples.

    Attributes:
        samples: that were explained.
        validation_rows: that pairs were computed with.
        searched_rows: among which neighbours were looked for, of ``pool_rows`` labelled and unlabelled ones.
        pool_rows: labelled and unlabelled rows.
        seconds: that it took, of ``budget_s`` that it might.
        budget_s: ``monitoring.explain_seconds``.
        damping: of the solve behind the pairs; 0 where there was none (``Training.dual_head``).
    """

    samples: int
    validation_rows: int
    searched_rows: int
    pool_rows: int
    seconds: float
    budget_s: float
    damping: float


@dataclass(frozen=True)
class Evidence:
    """What the job found out about one sample, by the student as it was at the end of its training.

    Attributes:
        chosen: why it was explained: ``asked``, ``overridden``, ``harmful`` or ``helpful``; empty where it was not.
        mean: of its pairs over all validation rows; ``None`` where the time ran out before them, or there are none.
        helped: the validation rows whose loss falls most with its weight, the first most.
        harmed: those whose loss rises most.
        neighbours: the nearest labelled and unlabelled rows, the nearest first.
        search: how the job explained samples; ``None`` where it explained none.
    """

    chosen: str = ""
    mean: float | None = None
    helped: tuple[PairInfluence, ...] = ()
    harmed: tuple[PairInfluence, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    search: EvidenceSearch | None = None

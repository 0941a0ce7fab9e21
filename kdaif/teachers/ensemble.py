"""Several teachers, made one: the mean of their probabilities, equal or weighed on V."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kdaif.errors import InvalidInputError
from kdaif.records.teachers import EnsembleTeacher
from kdaif.scratch import Scratch
from kdaif.teachers.outputs import TeacherOutputs, Whole, log_softmax, mean_of_probabilities, whole

_STEPS = 1000
_ENOUGH = 1e-9


def combined(
    source: EnsembleTeacher,
    members: Sequence[TeacherOutputs],
    labels: NDArray[np.int64],
    fields: Sequence[str],
    scratch: Scratch | None = None,
    temperature: float | None = None,
) -> TeacherOutputs:
    """Averages M members. What not all of them can be asked about is None.

    Args:
        source: how to combine.
        members: what each said.
        labels: int64 ``[N_v]``, classes of V.
        fields: where each member stands in the request.
        scratch: for the mean; None keeps it in memory.
        temperature: of `softening`: of U members and mean are kept by their largest classes.

    Raises:
        InvalidInputError: the members are weighed on V, and one says nothing about it.
    """
    weights = np.full(len(members), 1 / len(members))
    if source.combine == "by_validation":
        judged = []
        for member, field in zip(members, fields, strict=True):
            if member.validation is None:
                raise InvalidInputError.of(
                    field,
                    "says nothing about the validation rows, by which combine 'by_validation' weighs its members; add "
                    "their ids to its data set, or choose combine 'mean'",
                )
            judged.append(member.validation)
        weights = mixture_weights(judged, labels)

    def mean(said: list[Whole | None]) -> Whole | None:
        given = [logits for logits in said if logits is not None]
        return whole(mean_of_probabilities(given, weights, scratch)) if len(given) == len(members) else None

    return TeacherOutputs(
        unlabeled=mean_of_probabilities([member.unlabeled for member in members], weights, scratch, temperature),
        validation=mean([member.validation for member in members]),
        test=mean([member.test for member in members]),
        external=mean([member.external for member in members]),
        labeled=mean([member.labeled for member in members]),
    )


def mixture_weights(members: Sequence[Whole], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 ``[M]``, summing to 1: the mixture of the members under which V is most likely.

    Maximises ``sum_n log sum_m w_m p_m(y_n | x_n)`` by expectation maximisation (Dempster, Laird and Rubin 1977): each
    step sets a member's weight to its mean share in the probability of the right classes. The objective is concave, so
    the start does not matter. Log-likelihood and not accuracy, since the student learns from probabilities: a member
    that is right as often but surer than it may be weighs less. And that of the mixture, not of each alone: two that
    say the same share one weight. A network that was stopped on V is flattered a little by it.

    Args:
        members: M times float32 ``[N, C]``.
        labels: int64 ``[N]``, N above 0.
    """
    right = np.stack([np.exp(log_softmax(logits))[np.arange(len(labels)), labels] for logits in members])
    right = np.maximum(right, 1e-12)  # all members may be sure of a wrong class
    weights = np.full(len(members), 1 / len(members))
    for _ in range(_STEPS):
        shares = weights[:, None] * right
        updated = (shares / shares.sum(axis=0)).mean(axis=1)
        if np.abs(updated - weights).max() < _ENOUGH:
            break
        weights = updated
    return weights

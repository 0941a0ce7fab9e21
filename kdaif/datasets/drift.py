"""Whether the unlabelled rows are of other classes than the labelled ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets.findings import Findings

_NAMED_CLASSES = 3


def report_class_drift(
    said: NDArray[np.int32],
    labels: NDArray[np.int32],
    class_names: tuple[str, ...],
    bar: float,
    findings: Findings,
    *,
    field: str,
) -> None:
    """Tells where the classes of U, by its teacher, lie further from those of L than chance and the bar allow.

    The distance is the total variation of the two distributions. Labels that were given in equal numbers to every class
    lie far from most pools on purpose, so this is no warning.

    Args:
        said: int32 [N], the teacher's class of each row of U in use, -1 where it says nothing.
        labels: int32 [M], of the rows of L in use, -1 where there is none.
        class_names: C names.
        bar: `Monitoring.class_drift`; 0 is off.
        findings: receives it.
        field: what it calls the teacher.
    """
    of_pool, of_labels = (np.bincount(codes[codes >= 0], minlength=len(class_names)) for codes in (said, labels))
    if bar == 0 or not of_pool.sum() or not of_labels.sum():
        return
    pool, known = of_pool / of_pool.sum(), of_labels / of_labels.sum()
    distance = float(np.abs(pool - known).sum() / 2)
    # Of two samples of one distribution, E|z| standard errors apart; L is the small one.
    by_chance = float(np.sqrt(2 / np.pi / of_labels.sum()) * np.sqrt(known * (1 - known)).sum() / 2)
    if distance - by_chance <= bar:
        return
    most = np.argsort(-np.abs(pool - known), kind="stable")[:_NAMED_CLASSES]
    named = ", ".join(f"{class_names[code]!r} {known[code]:.0%} against {pool[code]:.0%}" for code in most)
    findings.info(
        "CLASS_DRIFT",
        field,
        f"{distance:.0%} of the unlabelled rows stand in other classes, by the teacher, than the labelled rows do "
        f"({by_chance:.0%} by chance): {named}. Where the labels are not balanced on purpose, look at the teacher",
    )

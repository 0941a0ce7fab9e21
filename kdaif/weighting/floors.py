"""Groups that weigh too little for no fault of their pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.scratch import Scratch


def with_floors(
    weights: NDArray[np.float64],
    groups: Sequence[tuple[NDArray[Any], str]],
    floor: float,
    overrides: NDArray[np.float64] | None,
    scratch: Scratch | None = None,
) -> NDArray[np.float64]:
    """Weights in which each of these groups has a mean of at least the floor, `[N]`.

    Rows of a group are scaled alike, so that their order stays. All other rows give in proportion what these gain, so
    the mean over all rows stays what it was. A row that a person gave a weight is left alone.

    Args:
        weights: `[N]`, mean 1; not changed.
        groups: names of a column, object `[N]`, and the name of the group; of groups that share rows, the later one is
            met exactly.
        floor: of the mean weight, under 1.
        overrides: `[N]`, NaN where a row has none; None where no row has one.
        scratch: where the answer lies where it is large.
    """
    if not groups:
        return weights
    room = Scratch() if scratch is None else scratch
    lifted: NDArray[np.float64] = room.empty(weights.shape, np.float64)
    lifted[:] = weights
    free = np.ones(len(weights), dtype=np.bool_) if overrides is None else np.isnan(overrides)
    for names, name in groups:
        inside = np.asarray(names == name, dtype=np.bool_)
        own, others = inside & free, ~inside & free
        fixed = float(lifted[inside & ~free].sum())
        before, rest = float(lifted[own].sum()), float(lifted[others].sum())
        wanted = floor * int(inside.sum()) - fixed
        gain = wanted - before
        if before <= 0 or rest <= 0 or not 0 < gain < rest:
            continue
        lifted[own] *= wanted / before
        lifted[others] *= (rest - gain) / rest
    return lifted

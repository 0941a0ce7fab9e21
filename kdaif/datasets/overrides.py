"""A person's word on single rows: the ``weight_override`` column of the unlabelled set."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.datasets.columns import WEIGHT_OVERRIDE
from kdaif.datasets.findings import Findings, first_ids
from kdaif.datasets.matrices import is_number
from kdaif.datasets.part import Part

MOST_WEIGHT = 1e6  # a row that counts as a million is alone in its batch; above, float32 sums lose the others
_FIX = f"give a number from 0 to {MOST_WEIGHT:,.0f}, or null where there is nothing to override"


def weight_overrides(part: Part, findings: Findings) -> NDArray[np.float64] | None:
    """Float64 ``[N]``, NaN where a row has no override; None where no row has one.

    Args:
        part: the unlabelled set.
        findings: receives the errors.
    """
    if WEIGHT_OVERRIDE not in part.table.schema.names:
        return None
    column = part.table[WEIGHT_OVERRIDE]
    if column.null_count == len(column):
        return None
    if pa.types.is_boolean(column.type) or not is_number(column.type):
        findings.refuse(
            "WEIGHT_OVERRIDE_TYPE", part.field, f"{WEIGHT_OVERRIDE!r} is {column.type}, not numbers; {_FIX}"
        )
        return None
    given = column.is_valid().to_numpy()
    weights = np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    bad = given & ~((weights >= 0) & (weights <= MOST_WEIGHT))  # a comparison with NaN is False
    if bad.any():
        findings.refuse(
            "WEIGHT_OVERRIDE_VALUE",
            part.field,
            f"{WEIGHT_OVERRIDE!r} is negative, NaN, infinite or too large; {_FIX}",
            int(bad.sum()),
            first_ids(part.ids, bad),
        )
        return None
    return np.where(given, weights, np.nan)

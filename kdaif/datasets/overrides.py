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
from kdaif.scratch import Scratch

MOST_WEIGHT = 1e6  # a row that counts as a million is alone in its batch; above, float32 sums lose the others
_FIX = f"give a number from 0 to {MOST_WEIGHT:,.0f}, or null where there is nothing to override"


def weight_overrides(part: Part, findings: Findings, scratch: Scratch | None) -> NDArray[np.float64] | None:
    """Float64 ``[N]``, NaN where a row has no override; None where no row has one.

    Args:
        part: the unlabelled set.
        findings: receives the errors.
        scratch: keeps them; None to check them alone.
    """
    schema = part.file.schema
    if WEIGHT_OVERRIDE not in schema.names:
        return None
    type_ = schema.field(WEIGHT_OVERRIDE).type
    numbers = is_number(type_) and not pa.types.is_boolean(type_)
    weights = None if scratch is None else scratch.empty((len(part.ids),), np.float64)
    bad = np.zeros(len(part.ids), dtype=np.bool_)
    any_given = False
    for rows, values in part.file.column(WEIGHT_OVERRIDE):
        all_null = values.null_count == len(values)
        any_given = any_given or not all_null
        if not numbers or all_null:
            if weights is not None:
                weights[rows] = np.nan
            continue
        given = values.is_valid().to_numpy(zero_copy_only=False)
        cast = pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        if scratch is not None and weights is not None:
            weights[rows] = np.where(given, cast, np.nan)
            scratch.release()
        bad[rows] = given & ~((cast >= 0) & (cast <= MOST_WEIGHT))  # a comparison with NaN is False
    if any_given and not numbers:
        findings.refuse("WEIGHT_OVERRIDE_TYPE", part.field, f"{WEIGHT_OVERRIDE!r} is {type_}, not numbers; {_FIX}")
        return None
    if bad.any():
        findings.refuse(
            "WEIGHT_OVERRIDE_VALUE",
            part.field,
            f"{WEIGHT_OVERRIDE!r} is negative, NaN, infinite or too large; {_FIX}",
            int(bad.sum()),
            first_ids(part.ids, bad),
        )
        return None
    return weights if any_given else None

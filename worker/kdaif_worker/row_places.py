"""Where rows stand by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.datasets import Strings
from kdaif.scratch import Scratch


def places_of(ids: NDArray[Any] | Strings, wanted: Sequence[Any], scratch: Scratch) -> dict[Any, int]:
    """The place of each wanted id that is there."""
    found: dict[Any, int] = {}
    for rows in scratch.slabs(len(ids), 16):
        some = pa.array(ids[rows])
        places = pc.indices_nonzero(pc.is_in(some, pa.array(wanted, some.type)))
        found |= {some[place].as_py(): rows.start + place for place in places.to_pylist()}
    return found

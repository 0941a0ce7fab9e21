"""What all parts of a spec have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

DatasetId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
ClassName = Annotated[str, Field(min_length=1, max_length=256)]


class SpecModel(BaseModel):
    """Frozen, and an unknown field is an error rather than an option that is silently gone."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def require_unique(names: Iterable[str] | None, field: str) -> None:
    """Raises ValueError where a name stands twice."""
    given = list(names or ())
    if len(set(given)) != len(given):
        raise ValueError(f"{field} holds a name twice")

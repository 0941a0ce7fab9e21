"""What a person decided on single samples: an append-only list of revisions, whose later ones win."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import TypeAdapter

Decision: TypeAlias = Literal["pin", "ban", "relabel", "clear"]


@dataclass(frozen=True)
class Override:
    """A decision on one sample.

    Attributes:
        id: of the sample, as text.
        decision: ``pin`` it to a weight, ``ban`` it (weight 0), ``relabel`` it, or ``clear`` former decisions.
        weight: of a pin.
        class_name: of a relabelled sample.
    """

    id: str
    decision: Decision
    weight: float | None = None
    class_name: str | None = None


@dataclass(frozen=True)
class OverrideRevision:
    """Decisions that were made together. ``revision`` counts 1, 2, 3, ... in a job."""

    revision: int
    author: str
    reason: str
    time_ms: int
    overrides: tuple[Override, ...]

    def to_json(self) -> bytes:
        """UTF-8 JSON."""
        return _ADAPTER.dump_json(self, indent=1)

    @classmethod
    def from_json(cls, data: bytes) -> OverrideRevision:
        """The inverse of ``to_json``; ``pydantic.ValidationError`` when it is something else."""
        return _ADAPTER.validate_json(data)


def in_force(revisions: Iterable[OverrideRevision]) -> dict[str, Override]:
    """The decision that holds for each sample, by id. A pin and a relabelling of one sample do not add up."""
    found: dict[str, Override] = {}
    for revision in sorted(revisions, key=lambda each: each.revision):
        for override in revision.overrides:
            found.pop(override.id, None)
            if override.decision != "clear":
                found[override.id] = override
    return found


_ADAPTER = TypeAdapter(OverrideRevision)

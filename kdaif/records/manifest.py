"""What one attempt left in the blob store: the files of its bundle and its weights shards, with their hashes."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter


@dataclass(frozen=True)
class StoredFile:
    """A file of the bundle. ``path`` is relative to the bundle."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class WeightsShard:
    """The weights after one round. ``path`` is a whole blob path: an earlier attempt may have written the shard."""

    round: int
    path: str
    sha256: str
    row_count: int


@dataclass(frozen=True)
class AttemptManifest:
    """Written once, when everything it names is durable. Readers go by it and by nothing else.

    That of a job that awaits a review has no bundle, and stands under a name of its own. ``evidence`` are the explained
    samples; its round is that of the last weights.
    """

    job: str
    attempt: int
    class_names: tuple[str, ...]
    bundle: tuple[StoredFile, ...]
    weights: tuple[WeightsShard, ...]
    created_at_ms: int
    evidence: WeightsShard | None = None

    def to_json(self) -> bytes:
        """UTF-8 JSON."""
        return _ADAPTER.dump_json(self, indent=1)

    @classmethod
    def from_json(cls, data: bytes) -> AttemptManifest:
        """The inverse of ``to_json``; ``pydantic.ValidationError`` when it is something else."""
        return _ADAPTER.validate_json(data)


_ADAPTER = TypeAdapter(AttemptManifest)

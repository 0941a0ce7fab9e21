"""What pages read again and again, kept: summaries of shards never change."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kdaif.errors import NotFoundError
from kdaif.records import AttemptManifest, Job
from kdaif.store import layout
from kdaif_server.backend import Backend
from kdaif_server.dashboard.rows import Row, read_rows
from kdaif_server.weights.explained import Explained, at_a_glance
from kdaif_server.weights.filters import EVERY_ROW
from kdaif_server.weights.shard import Shard
from kdaif_server.weights.summary import ColumnSummary, Summary, summarize, summarize_column

T = TypeVar("T")
_MOST_KEPT = 256
_MOST_EXPLAINED = 10
_MOST_JSON_BYTES = 16 << 20


class Readings:
    """Reads through a backend. All methods block; threads may share one."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._kept: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._keeping = threading.Lock()

    def summary(self, shard: Shard) -> Summary:
        """Of all rows of a shard."""
        return self._once("summary", shard, lambda: summarize(self._backend.engine, shard, EVERY_ROW))

    def weight_quantiles(self, shard: Shard) -> ColumnSummary:
        """How the weights of a shard are spread."""
        return self._once("weight", shard, lambda: summarize_column(self._backend.engine, shard, EVERY_ROW, "weight"))

    def explained(self, shard: Shard) -> Explained:
        """The explained samples, and the ten that harm most."""
        return self._once("explained", shard, lambda: at_a_glance(shard, _MOST_EXPLAINED))

    def rows(self, job: Job, ids: Sequence[str]) -> dict[str, Row]:
        """Rows of the unlabelled data set by id, as far as it holds them. Raises what fetching a data set raises."""
        file = self._backend.datasets.fetch(job.tenant, job.spec.unlabeled, self._backend.cache_dir)
        return read_rows(self._backend.engine, file, ids)

    def bundle_json(self, job: Job, manifest: AttemptManifest, path: str) -> dict[str, Any] | None:
        """A JSON file of the bundle; None where there is none, or one too large to be shown."""
        sizes = {file.path: file.size_bytes for file in manifest.bundle}
        if sizes.get(path, _MOST_JSON_BYTES + 1) > _MOST_JSON_BYTES:
            return None
        blob = layout.bundle_file(job.tenant, job.id, manifest.attempt, path)
        try:
            found = json.loads(self._backend.artifacts.blobs.get_bytes(blob))
        except (NotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _once(self, what: str, shard: Shard, read: Callable[[], T]) -> T:
        # The name of a shard's file is the hash of what is in it.
        key = (what, shard.parquet.name)
        with self._keeping:
            if key in self._kept:
                self._kept.move_to_end(key)
                kept: T = self._kept[key]
                return kept
        found = read()
        with self._keeping:
            self._kept[key] = found
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return found

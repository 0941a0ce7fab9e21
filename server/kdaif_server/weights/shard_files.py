"""Local copies of weights shards, which never change, within a bound on their disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

from kdaif.errors import DataCorruptedError
from kdaif.records import WeightsShard
from kdaif.store import BlobStore
from kdaif_server.weights.shard import Shard

_MOST_OPEN = 64


class ShardFiles:
    """Fetches shards and keeps them, with what was made of them, until the folder is too large.

    Args:
        blobs: where the shards are.
        folder: of the copies; may be emptied at any time.
        most_bytes: of the folder, after each fetch. The longest unused go first.
    """

    def __init__(self, blobs: BlobStore, folder: Path, most_bytes: int) -> None:
        self._blobs = blobs
        self._folder = folder
        self._most_bytes = most_bytes
        self._fetching = threading.Lock()
        self._open: OrderedDict[str, Shard] = OrderedDict()

    def shard(self, shard: WeightsShard) -> Shard:
        """The local copy.

        Raises:
            DataCorruptedError: the stored bytes do not have their hash.
            NotFoundError: they are gone.
            UnavailableError: the blob store does not answer.
        """
        target = self._folder / f"{shard.sha256}.parquet"
        with self._fetching:
            if not target.exists():
                self._open.pop(shard.sha256, None)
                self._fetch(shard, target)
                self._trim(keep=shard.sha256)
            if shard.sha256 not in self._open:
                self._open[shard.sha256] = Shard(target)
            self._open.move_to_end(shard.sha256)
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
            os.utime(target)
            return self._open[shard.sha256]

    def _fetch(self, shard: WeightsShard, target: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as part:
            for chunk in self._blobs.iter_range(shard.path):
                digest.update(chunk)
                part.write(chunk)
        if digest.hexdigest() != shard.sha256:
            Path(part.name).unlink()
            raise DataCorruptedError(f"The weights of round {shard.round} do not match their hash in the blob store.")
        Path(part.name).replace(target)

    def _trim(self, *, keep: str) -> None:
        files = [(file, file.stat()) for file in self._folder.iterdir() if file.is_file()]
        total = sum(status.st_size for _, status in files)
        for file, status in sorted(files, key=lambda each: each[1].st_mtime):
            if total <= self._most_bytes:
                return
            if not file.name.startswith(keep) and file.suffix != ".part":
                # A query that has it open goes on reading it.
                file.unlink(missing_ok=True)
                total -= status.st_size

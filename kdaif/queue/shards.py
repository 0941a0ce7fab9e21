"""The shards of a scoring: jobs that a running job has others score rows by, and scores itself where nobody does."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import TypeAdapter

from kdaif.queue import codec
from kdaif.queue.claim import Claim
from kdaif.queue.scripts import Script, Scripts
from kdaif.records import DistillationSpec, Failure, PreflightReport, Shard

LABEL = "kdaif/shards-"
"""A worker that takes shards offers this beside its own labels, with the release whose shards it takes behind it."""

_SHARD = TypeAdapter(Shard)
_FAILURE = TypeAdapter(Failure)


@dataclass(frozen=True)
class Standing:
    """How far the shards of a scoring are.

    Attributes:
        to_score: by the job itself, now; None where others have all that are left.
        scored: how many are.
        total: how many there are.
        tried_again: those that took several attempts, with their number.
        failed: one that is over without scores, and why.
    """

    to_score: Shard | None
    scored: int
    total: int
    tried_again: tuple[tuple[Shard, int], ...]
    failed: tuple[Shard, Failure] | None

    @property
    def is_over(self) -> bool:
        """Every shard is scored; then none of them is in the queue any more."""
        return self.scored == self.total


class RunHeld(Protocol):
    """Runs a script that a claim must hold for."""

    def __call__(self, script: Script, action: str, claim: Claim, *arguments: str) -> Awaitable[list[Any]]:
        """What the script answers. Raises FencedError."""
        ...


class Shards:
    """Shards end with the attempt that submitted them, however it ends: the scripts see to that.

    Args:
        scripts: of the queue.
        run_held: that of `Attempts`.
    """

    def __init__(self, scripts: Scripts, run_held: RunHeld) -> None:
        self._scripts = scripts
        self._run_held = run_held

    async def submit(self, claim: Claim, shards: Sequence[Shard], *, cut: int, release: str) -> None:
        """Queues the shards in the job's own place, for workers of the release that offer what the job needs.

        May be called again; shards of the same number and scoring that are there stay. Nothing is queued for a job that
        is being cancelled, nor by a call that arrives when all shards of its cut are over.

        Args:
            claim: of the job.
            shards: to be scored.
            cut: counts the cuts of the attempt, from 1.
            release: whose workers read and score shards as the job's own worker does.

        Raises:
            FencedError: the attempt no longer holds the job.
        """
        needs = codec.needs_of(claim.job.spec.scheduling, also=f"{LABEL}{release}")
        texts = [text for shard in shards for text in (shard.end_of_id, codec.encode(shard))]
        spec, found = codec.encode_spec(_spec_of_a_shard(claim.job.spec)), codec.encode(PreflightReport())
        await self._run_held(
            self._scripts.submit_shards, "cut the scoring of", claim, str(cut), needs, spec, found, *texts
        )

    async def work(self, claim: Claim, worker: str, scored: Shard | None = None) -> Standing:
        """How the shards stand, and which of them the job is to score itself. May be called again.

        Args:
            claim: of the job.
            worker: that runs it.
            scored: what the job itself has scored since the last call.

        Raises:
            FencedError: the attempt no longer holds the job.
        """
        done = "" if scored is None else scored.end_of_id
        answer = await self._run_held(self._scripts.work_on_shards, "score the shards of", claim, worker, done)
        _, to_score, failure, n_scored, total, *again = answer
        failed = None
        if failure:
            shard, why = json.loads(failure)
            failed = (_SHARD.validate_json(shard), _FAILURE.validate_json(why))
        return Standing(
            to_score=_SHARD.validate_json(to_score) if to_score else None,
            scored=n_scored,
            total=total,
            tried_again=tuple(
                (_SHARD.validate_json(shard), int(attempts))
                for shard, attempts in zip(again[::2], again[1::2], strict=True)
            ),
            failed=failed,
        )


def _spec_of_a_shard(spec: DistillationSpec) -> DistillationSpec:
    """What its worker asks of it before it reads the shard's files. There may be a thousand, so no names of classes."""
    return DistillationSpec(
        labeled=spec.labeled,
        unlabeled=spec.unlabeled,
        device=spec.device,
        max_runtime_s=spec.max_runtime_s,
        max_attempts=spec.max_attempts,
        scheduling=spec.scheduling,
    )

"""Influence on each of K blocks of the score set, and what their agreement says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.influence.reliability import rank_correlation, ranked_rows
from kdaif.top_classes import Logits, TopClasses, empty_logits
from kdaif.workspace import Workspace, numpy_dtype

_HALVINGS = 8


@dataclass(frozen=True, eq=False)
class InfluenceScores:
    """Influence of N rows on K blocks of V, and how the solves went.

    Attributes:
        per_block: dL_k/dw_i, `[K, N]` in the precision of the student, with L_k the mean loss of block k; in scratch
            where it is large, the scores of a row beside each other. Negative helps, positive harms.
        reliability: `split_half_reliability` of all rows, or of a sample of `MOST_RANKED_ROWS`.
        shares: rows of each block over all rows of V, float64 `[K]`.
        logits: the student's on the N rows, float32 `[N, C]`, in eval mode; a by-product of the forward pass. Kept by
            their largest classes where the targets are.
        taught_logits: of the head that learns the soft targets; the same array where that is the one that predicts.
        solution: v_k = (H + d I)^-1 g_k per block, `[K, P]`, to start the next round's solves from; None where the
            solver has no use for it.
        residual: relative residual |g - (H + d I) v| / |g|: the largest of the blocks', or of the mean for ``head``.
        solver_steps: conjugate-gradient steps taken; 0 for a closed form.
        solves_stopped: how many solves ended on a non-positive curvature or a non-finite value.
        damping: d.
        gradient_norm: |g|, the gradient of the mean loss on V; of the last layer's parameters alone for ``head``.
    """

    per_block: NDArray[np.floating]
    reliability: float
    shares: NDArray[np.float64]
    logits: Logits
    taught_logits: Logits
    solution: Tensor | None
    residual: float
    solver_steps: int
    solves_stopped: int
    damping: float
    gradient_norm: float

    @property
    def influence(self) -> NDArray[np.float64]:
        """dL_val/dw_i, float64 `[N]`: the mean over blocks, weighted by size."""
        return self.shares @ self.per_block


def split_half_reliability(ranked: NDArray[np.floating]) -> float:
    """Spearman correlation of the scores from two halves of the blocks, -1 to 1, the mean over some random halves.

    0 for a single block.

    Args:
        ranked: scores of some rows by block, `[K, M]`.
    """
    half = len(ranked) // 2
    if not half:
        return 0.0
    generator = np.random.default_rng(0)
    # Of each halving the share of each block in either mean; a product with them copies no half of the blocks.
    shares = np.zeros((_HALVINGS, 2, len(ranked)), ranked.dtype)
    for of_halves in shares:
        order = generator.permutation(len(ranked))
        of_halves[0, order[:half]] = 1 / half
        of_halves[1, order[half:]] = 1 / (len(ranked) - half)
    return float(np.mean([rank_correlation(*(of_halves @ ranked)) for of_halves in shares]))


def block_stderr(per_block: NDArray[np.floating]) -> NDArray[np.float64]:
    """Standard error of the mean over K blocks, `[N]`: how much of a score is luck of V. Zeros for a single block."""
    n_blocks = len(per_block)
    if n_blocks < 2:
        return np.zeros(per_block.shape[1])
    return np.asarray(per_block.std(axis=0, ddof=1, dtype=np.float64) / np.sqrt(n_blocks))


class ScoreSheet:
    """Where the scores of N rows on K blocks are written down, some rows at a time."""

    def __init__(
        self,
        n_rows: int,
        n_blocks: int,
        n_classes: int,
        dtype: torch.dtype,
        workspace: Workspace,
        temperature: float | None = None,
        *,
        two_heads: bool = False,
    ) -> None:
        """Empty. With a `temperature` the logits are kept by their largest classes."""
        self._scratch = workspace.scratch
        self._per_row = self._scratch.empty((n_rows, n_blocks), numpy_dtype(dtype))
        self._logits = empty_logits(n_rows, n_classes, temperature, self._scratch)
        self._taught = empty_logits(n_rows, n_classes, temperature, self._scratch) if two_heads else self._logits

    def write(self, rows: slice, influence: Tensor, logits: Tensor, taught: Tensor | None = None) -> None:
        """Takes the influence `[M, K]` and the logits `[M, C]` of these rows, of two heads those of both."""
        self._per_row[rows] = influence.cpu().numpy()
        self._logits[rows] = logits.float().cpu().numpy()
        if taught is not None and self._taught is not self._logits:
            self._taught[rows] = taught.float().cpu().numpy()

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that was written, by name, as long as the rows."""
        found = {"per_row": self._per_row} | _arrays_of(self._logits, "logits")
        return found if self._taught is self._logits else found | _arrays_of(self._taught, "taught")

    def put(self, rows: slice, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Takes for these rows what another sheet wrote, its `arrays`."""
        own = self.arrays
        for within in self._scratch.slabs(rows.stop - rows.start, sum(array[:1].nbytes for array in own.values())):
            place = slice(rows.start + within.start, rows.start + within.stop)
            for name, array in own.items():
                array[place] = arrays[name][within]

    def exchange(self, runs: list[slice], workspace: Workspace) -> None:
        """Each process gives the others the run of rows that it wrote, `runs[rank]`."""
        if workspace.collective.size == 1:
            return
        written = list(self.arrays.values())
        row_bytes = sum(array[:1].nbytes for array in written)
        for source, run in enumerate(runs):
            for within in workspace.slabs(run.stop - run.start, row_bytes):
                rows = slice(run.start + within.start, run.start + within.stop)
                workspace.collective.copied(*(_sendable(array[rows]) for array in written), source=source)

    def scores(
        self,
        shares: NDArray[np.float64],
        *,
        solution: Tensor | None,
        residual: float,
        solver_steps: int,
        solves_stopped: int,
        damping: float,
        gradient_norm: float,
    ) -> InfluenceScores:
        """What was written, and how the solves went, as `InfluenceScores` has it."""
        ranked = ranked_rows(len(self._per_row))
        whole = len(ranked) == len(self._per_row)
        return InfluenceScores(
            per_block=self._per_row.T,
            reliability=split_half_reliability(
                (self._per_row if whole else self._scratch.take(self._per_row, ranked)).T
            ),
            shares=shares,
            logits=self._logits,
            taught_logits=self._taught,
            solution=solution,
            residual=residual,
            solver_steps=solver_steps,
            solves_stopped=solves_stopped,
            damping=damping,
            gradient_norm=gradient_norm,
        )


def _arrays_of(logits: Logits, name: str) -> dict[str, NDArray[Any]]:
    if not isinstance(logits, TopClasses):
        return {name: logits}
    return {f"{name}.{part}": array for part, array in logits.arrays.items()}


def _sendable(array: NDArray[np.generic]) -> Tensor:
    """The same memory; short integers, which gloo does not know, as bytes."""
    return torch.from_numpy(array.view(np.uint8) if array.dtype == np.int16 else array)


def pooled_scores(scores: Sequence[InfluenceScores], rows: Sequence[int], workspace: Workspace) -> InfluenceScores:
    """One sheet of several score sets' blocks, each set scored by a student of its own.

    Args:
        scores: of the same N rows of U.
        rows: in each score set.
        workspace: of the rows of U.
    """
    n_rows, n_classes = scores[0].logits.shape
    shares = np.concatenate([one.shares * size / sum(rows) for one, size in zip(scores, rows, strict=True)])
    first = scores[0].logits
    two_heads = scores[0].taught_logits is not first
    temperature = first.temperature if isinstance(first, TopClasses) else None
    dtype = torch.from_numpy(scores[0].per_block[:, :0]).dtype
    sheet = ScoreSheet(n_rows, len(shares), n_classes, dtype, workspace, temperature, two_heads=two_heads)
    for some in workspace.slabs(n_rows, 8 * (2 * len(shares) + 4 * n_classes)):
        influence = np.concatenate([one.per_block[:, some] for one in scores]).T
        logits = np.mean([one.logits[some] for one in scores], axis=0)
        taught = np.mean([one.taught_logits[some] for one in scores], axis=0) if two_heads else logits
        sheet.write(some, torch.from_numpy(influence), torch.from_numpy(logits), torch.from_numpy(taught))
    return sheet.scores(
        shares,
        solution=None,
        residual=max(one.residual for one in scores),
        solver_steps=max(one.solver_steps for one in scores),
        solves_stopped=sum(one.solves_stopped for one in scores),
        damping=float(np.mean([one.damping for one in scores])),
        gradient_norm=float(np.mean([one.gradient_norm for one in scores])),
    )


def cut_into_blocks(n: int, blocks: int, seed: int) -> list[NDArray[np.int64]]:
    """Row numbers of V, int64, in K blocks of equal size up to one; fewer than K where V is smaller."""
    order = np.random.default_rng((seed, 3)).permutation(n)
    return np.array_split(order, min(blocks, n))


def shares_of(cuts: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Size of each block over all rows, `[K]`."""
    sizes = np.array([len(cut) for cut in cuts], dtype=np.float64)
    return np.asarray(sizes / sizes.sum())

"""The second half of a scoring: one pass over any rows along the solutions of the first, at a student."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from kdaif.influence.blocks import ScoreSheet
from kdaif.influence.row_gradients import RowLoss, logit_gradients
from kdaif.linalg import (
    HeadRows,
    directional_derivatives,
    finite_differences,
    head_rows,
    logits_of,
    parameter_vector,
    predicting_and_taught,
    rows_at_once,
)
from kdaif.top_rows import RowNumbers, temperature_of
from kdaif.workspace import Workspace

_ROWS_PER_PASS = 1024
_HEAD_ROWS_PER_FORWARD_PASS = 4096
# In the changes of so many rows' logits, for all blocks: 32 MB in float32.
_NUMBERS_PER_PASS = 1 << 23


@dataclass(frozen=True, eq=False)
class Along:
    """What rows are scored along. No row's score depends on another's.

    Attributes:
        student: in eval mode; of two heads, both logits side by side, `[N, 2 C]`.
        solved: v, `[K, P]`; of the last layer alone `[K, C, I]`.
        n_classes: C.
        temperature: T.
        two_heads: whether the student has a head of its own for soft targets.
        row_loss: l, that U is trained with; None is T^2 KL(q^T || p^T).
        derivative: forward mode, or central differences for layers without a forward-mode rule.
    """

    student: nn.Module
    solved: Tensor
    n_classes: int
    temperature: float
    two_heads: bool = False
    row_loss: RowLoss | None = None
    derivative: Literal["forward", "finite_difference"] = "forward"

    def sheet(self, n_rows: int, log_targets: RowNumbers, workspace: Workspace) -> ScoreSheet:
        """An empty one for so many rows; `log_targets` tell how their logits are kept."""
        return ScoreSheet(
            n_rows,
            len(self.solved),
            self.n_classes,
            self.solved.dtype,
            workspace,
            temperature_of(log_targets),
            two_heads=self.two_heads,
        )

    def rows_per_pass(self, features: Tensor) -> int:
        """Rows that are worked on at a time. Scores of a run that begins at a multiple of it are those of the whole."""
        if self._is_of_head:
            return _HEAD_ROWS_PER_FORWARD_PASS
        if features.device.type != "cpu":
            return _ROWS_PER_PASS
        return min(_ROWS_PER_PASS, rows_at_once(self.student, features, len(self.solved)))

    def write(self, sheet: ScoreSheet, features: Tensor, log_targets: RowNumbers, workspace: Workspace) -> None:
        """Writes every row's influence and logits down.

        Args:
            sheet: of these rows.
            features: raw rows, `[N, ...]`.
            log_targets: log q^T, `[N, C]`.
            workspace: of the rows; the processes of its group share them.
        """
        if self._is_of_head:
            for rows in workspace.passes(len(features), self.rows_per_pass(features)):
                of_head = head_rows(self.student, features[rows])
                sheet.write(rows, self._through_head(of_head, log_targets[rows]), of_head.logits)
            return
        theta = parameter_vector(self.student)
        differentiate = directional_derivatives if self.derivative == "forward" else finite_differences
        at_once = self.rows_per_pass(features)
        cuts_of_rows = range(0, len(features), at_once)
        shares_of_rows = [
            slice(cuts_of_rows[own][0], min(cuts_of_rows[own][-1] + at_once, len(features)))
            if cuts_of_rows[own]
            else slice(0, 0)
            for own in workspace.collective.shares(len(cuts_of_rows))
        ]
        mine = shares_of_rows[workspace.collective.rank]
        for within in workspace.passes(mine.stop - mine.start, at_once):
            rows = slice(mine.start + within.start, mine.start + within.stop)
            logits, changes = differentiate(logits_of(self.student, features[rows]), theta, self.solved)
            predicting, taught = predicting_and_taught(logits, self.n_classes)
            in_logits = logit_gradients(taught, log_targets[rows], self.temperature, self.row_loss)
            influence = -(changes[:, :, -self.n_classes :] * in_logits).sum(dim=2).T
            sheet.write(rows, influence, predicting, taught)
        sheet.exchange(shares_of_rows, workspace)

    @property
    def _is_of_head(self) -> bool:
        return self.solved.ndim == 3

    def _through_head(self, rows: HeadRows, log_targets: Tensor) -> Tensor:
        """Influence of each row on each block, `[N, K]`, of what the rows bring to the last layer."""
        n_blocks, n_classes, _ = self.solved.shape
        at_once = max(1, min(_ROWS_PER_PASS, _NUMBERS_PER_PASS // (n_blocks * n_classes)))
        parts = zip(*(torch.split(t, at_once) for t in (rows.inputs, rows.logits, log_targets)), strict=True)
        influence = []
        for inputs, logits, log_target in parts:
            in_logits = logit_gradients(logits, log_target, self.temperature, self.row_loss)
            changes = (inputs @ self.solved.flatten(0, 1).T).view(-1, n_blocks, n_classes)
            influence.append(-torch.bmm(changes, in_logits[:, :, None])[:, :, 0])
        return torch.cat(influence)


Elsewhere: TypeAlias = Callable[[Along, ScoreSheet], None]
"""Has every row of the sheet written, by others than this process alone."""

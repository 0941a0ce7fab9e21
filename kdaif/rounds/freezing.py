"""When weights stay: a scoring that says too little is not used, and settled weights are not scored again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kdaif.records.spec import Weighting
from kdaif.rounds.state import ArmState


@dataclass(frozen=True)
class Freezing:
    """What is remembered of the scorings so far.

    Attributes:
        first_gradient_norm: |g| of the first scoring, g being the gradient of the loss on V; None before it.
        settled: two scorings agreed so well that there are no more.
    """

    first_gradient_norm: float | None = None
    settled: bool = False

    def numbers(self) -> dict[str, float]:
        """For the arm's state."""
        if self.first_gradient_norm is None:
            return {}
        return {"first_gradient_norm": self.first_gradient_norm, "settled": float(self.settled)}

    @classmethod
    def from_state(cls, state: ArmState) -> Freezing:
        """Back from the arm's state."""
        numbers = state.numbers
        return cls(numbers.get("first_gradient_norm"), bool(numbers.get("settled", 0.0)))

    def keeps_former(self, metrics: Mapping[str, float], options: Weighting) -> bool:
        """Whether the weights of before stay, since this scoring says too little. The first one is always used.

        Args:
            metrics: of the scoring: ``gradient_norm`` and ``reliability``.
            options: ``freeze_reliability`` and ``freeze_gradient_share``.
        """
        if self.first_gradient_norm is None:
            return False
        least, share = options.freeze_reliability, options.freeze_gradient_share
        unreliable = least is not None and metrics.get("reliability", 0.0) < least
        collapsed = share is not None and metrics.get("gradient_norm", 0.0) < share * self.first_gradient_norm
        return unreliable or collapsed

    def after(self, metrics: Mapping[str, float], options: Weighting) -> Freezing:
        """With what a scoring that was used has shown: ``stability`` is its rank correlation with the one before."""
        if self.first_gradient_norm is None:
            return Freezing(metrics.get("gradient_norm", 0.0))
        least, stability = options.settled_stability, metrics.get("stability")
        return replace(self, settled=least is not None and stability is not None and stability >= least)

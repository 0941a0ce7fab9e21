"""Rolling a student out by stages: who gets the canary, when its outcomes have decided, and what may happen to a line.

No I/O, no torch.
"""

from kdaif.rollout import line
from kdaif.rollout.gate import MARGIN, GateResult, PairedDifference, compare, paired_difference
from kdaif.rollout.outcomes import Decision, Outcomes, Verdict, judge
from kdaif.rollout.share import gets_canary

__all__ = [
    "MARGIN",
    "Decision",
    "GateResult",
    "Outcomes",
    "PairedDifference",
    "Verdict",
    "compare",
    "gets_canary",
    "judge",
    "line",
    "paired_difference",
]

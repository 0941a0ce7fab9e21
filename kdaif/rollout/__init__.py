"""Rolling a student out by stages: who gets the canary, and when its outcomes have decided. No I/O, no torch."""

from kdaif.rollout.outcomes import Decision, Outcomes, Verdict, judge
from kdaif.rollout.share import gets_canary

__all__ = ["Decision", "Outcomes", "Verdict", "gets_canary", "judge"]

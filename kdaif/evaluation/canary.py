"""What the canary check found, in one plain sentence."""

from __future__ import annotations

from kdaif.records import CanaryCheck

_CHANCE = 0.5


def canary_sentence(check: CanaryCheck, *, overridden: int = 0) -> str:
    """Says whether the check passed, failed or was skipped, by which figures, and what follows.

    Args:
        check: of the job.
        overridden: rows with a weight override, which the uniform student knows nothing of.
    """
    if check.auroc is None or check.stderr is None:
        return f"The canary check was skipped: {check.skipped}."
    found = (
        f"the weights told {check.flipped} planted wrong labels from {check.kept} right ones "
        f"with an AUROC of {check.auroc:.2f} ± {check.stderr:.2f}"
    )
    if not check.failed:
        chance = check.auroc - check.stderr <= _CHANCE
        doubt = (
            " That is not clearly above chance (0.5): it does not show that they find wrong labels." if chance else ""
        )
        return f"The canary check passed: {found}, and the bar is {check.bar:g}.{doubt}"
    lost = f"; the weight override of {overridden} rows has no effect on it" if overridden else ""
    return (
        f"The canary check failed: {found}, under the bar of {check.bar:g} by more than the standard error, "
        f"so the student of the uniform arm is shipped{lost}."
    )

"""What arms and figures are called on a page."""

from __future__ import annotations

_ARM_NAMES = {
    "influence": "Influence weights",
    "uniform": "Uniform weights",
    "supervised": "Labelled rows only",
    "oracle": "Oracle: wrong rows removed",
    "teacher": "Teacher",
}
# With what they are counted in.
_FIGURE_NAMES = {
    "size_kb": ("File", "kB"),
    "ms_per_row": ("Latency", "ms per row"),
    "macro_f1": ("Macro F1", "0 to 1"),
    "ece": ("Expected calibration error", "0 to 1"),
    "accuracy_minus_uniform": ("Accuracy less that of uniform weights", "of 1"),
    "reliability": ("Reliability of influence", "−1 to 1"),
    "stability": ("Stability of the ranking of weights", "−1 to 1"),
    "canary_auroc": ("AUROC of the canary check", "0 to 1"),
    "cpu_s": ("CPU time of the job", "s"),
    "gpu_s": ("GPU time of the job", "s"),
    "energy_j": ("Energy of the job", "J"),
}


def figure_name(figure: str) -> tuple[str, str]:
    """Of a scorecard, for a person, and its unit; one that has no such name keeps its own."""
    for start, words in ("worst_", "Accuracy in the worst group of"), ("gap_", "Best less worst group of"):
        if figure.startswith(start):
            return f"{words} {figure.removeprefix(start)}", "of 1"
    return _FIGURE_NAMES.get(figure, (figure, ""))


def arm_name(arm: str) -> str:
    """For a person; an arm that has no such name keeps its own."""
    return _ARM_NAMES.get(arm, arm)

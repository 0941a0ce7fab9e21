"""The arms side by side on the same test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.errors import InvalidInputError, NonFiniteError
from kdaif.evaluation.calibration import expected_calibration_error
from kdaif.records import ArmResult

BASELINE = "uniform"
_RESAMPLES = 9999
_RESAMPLES_AT_ONCE_CELLS = 500_000  # about 30 MB while the test runs, at some 60 bytes a cell


def compare_arms(
    labels: NDArray[Any],
    logits: Mapping[str, Sequence[NDArray[Any]] | NDArray[Any] | None],
    class_names: Sequence[str],
    *,
    seed: int,
) -> tuple[ArmResult, ...]:
    """Accuracy, macro F1 and the paired difference to the "uniform" arm.

    Accuracy, macro F1 and calibration error are means over seeds. Macro F1 runs over all classes; only a class that has
    no test row and is never predicted, for which F1 is 0/0, is left out. The p-value is that of a two-sided sign-flip
    permutation test over the test rows, on the per-row difference of correctness, itself a mean over seeds. It answers
    for other test rows, not for other seeds.

    Args:
        labels: int ``[N]``, class codes into ``class_names``; N above 0.
        logits: for each arm one float ``[N, C]`` per seed; a single array for an arm trained once (a teacher); None or
            nothing for an arm that could not be run, which is then left out of the answer.
        class_names: the ``C`` names.
        seed: of the permutations.

    Returns:
        One result per arm, in the order of ``logits``; ``size_kb`` and ``ms_per_row`` are None. Difference and p-value
        are None for the uniform arm itself and wherever there is no uniform arm.

    Raises:
        InvalidInputError: no test rows, or shapes that do not agree.
        NonFiniteError: logits that hold NaN or infinity.
    """
    arms = {arm: seeds for arm, given in logits.items() if (seeds := _per_seed(given))}
    _check(labels, arms, len(class_names))
    correct = {arm: _correct(labels, seeds) for arm, seeds in arms.items()}
    baseline = correct.get(BASELINE)
    baseline_rows = None if baseline is None else baseline.mean(axis=0)
    return tuple(
        _result(arm, labels, arms[arm], correct[arm], None if arm == BASELINE else baseline_rows, seed) for arm in arms
    )


def paired_p_value(differences: NDArray[Any], *, seed: int) -> float:
    """Two-sided sign-flip permutation test of a mean of 0.

    Exact, by all sign patterns, where at most 9,999 of them exist; otherwise 9,999 drawn ones.

    Args:
        differences: float ``[N]``, one paired difference per row.
        seed: of the drawn sign patterns.

    Returns:
        The p-value, above 0 and at most 1.
    """
    # Flipping the sign of a zero changes nothing, so rows without a difference only cost time.
    moved = differences[differences != 0]
    if len(moved) < 2:
        return 1.0  # no difference, or one: both of its signs are as extreme, and scipy refuses a single observation
    # Imported late: 50 MB, and an attempt comes here when its rows have left the memory.
    from scipy.stats import permutation_test

    outcome = permutation_test(
        (moved,),
        lambda sample, axis: np.mean(sample, axis=axis),
        permutation_type="samples",
        alternative="two-sided",
        n_resamples=_RESAMPLES,
        batch=max(1, _RESAMPLES_AT_ONCE_CELLS // len(moved)),
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(outcome.pvalue)


def _per_seed(given: Sequence[NDArray[Any]] | NDArray[Any] | None) -> list[NDArray[Any]]:
    if given is None:
        return []
    if isinstance(given, np.ndarray) and given.ndim == 2:
        return [given]
    return list(given)


def _check(labels: NDArray[Any], arms: Mapping[str, list[NDArray[Any]]], n_classes: int) -> None:
    if labels.ndim != 1 or len(labels) == 0:
        raise InvalidInputError.of("labels", f"one label per test row and at least one row, not shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise InvalidInputError.of(
            "labels", f"class codes 0 to {n_classes - 1}, not {labels.min()} to {labels.max()}; give labelled rows only"
        )
    expected = (len(labels), n_classes)
    for arm, seeds in arms.items():
        for index, array in enumerate(seeds):
            if array.shape != expected:
                raise InvalidInputError.of(f"logits[{arm!r}][{index}]", f"shape {expected}, not {array.shape}")
            if not np.isfinite(array).all():
                bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
                raise NonFiniteError(
                    f"logits of arm {arm!r}, seed number {index}, are NaN or infinite for {len(bad)} test rows, first "
                    f"at positions {bad[:10].tolist()}"
                )


def _correct(labels: NDArray[Any], seeds: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Float64 ``[seeds, N]``: 1 where the seed's student is right."""
    return np.stack([np.argmax(array, axis=1) == labels for array in seeds]).astype(np.float64)


def _macro_f1(labels: NDArray[Any], array: NDArray[Any]) -> float:
    # Imported late, as pandas comes with it: a training child does without both until it evaluates.
    from sklearn.metrics import f1_score

    return float(
        f1_score(labels, np.argmax(array, axis=1), labels=range(array.shape[1]), average="macro", zero_division=np.nan)
    )


def _result(
    arm: str,
    labels: NDArray[Any],
    seeds: Sequence[NDArray[Any]],
    correct: NDArray[Any],
    baseline_rows: NDArray[Any] | None,
    seed: int,
) -> ArmResult:
    result = ArmResult(
        arm=arm,
        accuracy=float(correct.mean()),
        macro_f1=float(np.mean([_macro_f1(labels, array) for array in seeds])),
        accuracy_per_seed=tuple(float(value) for value in correct.mean(axis=1)),
        ece=float(np.mean([expected_calibration_error(labels, array) for array in seeds])),
    )
    if baseline_rows is None:
        return result
    # Means over different numbers of seeds differ in the last bit where they are equal in truth.
    differences = np.round(correct.mean(axis=0) - baseline_rows, 12)
    return replace(
        result,
        accuracy_minus_uniform=float(differences.mean()),
        p_value=paired_p_value(differences, seed=seed),
    )

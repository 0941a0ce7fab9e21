"""Which cells a run consists of."""

from __future__ import annotations

from benchmarks.quality.arms import ARMS, DEFAULT, ORACLE, STABILITY, UNIFORM
from benchmarks.quality.cells import Unit
from benchmarks.quality.conditions import CONDITIONS, OWN
from benchmarks.quality.sets import SETS

_STRONG = (OWN, "symmetric .4", "class-swap .4", "instance .4")
# Every corruption at both shares where that is cheap, the strong ones elsewhere.
_ALL_CONDITIONS = ("digits", "fashion", "german_credit")
# With two classes a symmetric corruption is a class swap.
_TWO_CLASSES = ("sst2", "adult", "german_credit")
_FULL_SEEDS, _QUICK_SEEDS = 5, 2
_QUICK = {
    "digits": _STRONG,
    "german_credit": (OWN, "class-swap .4"),
    "trec": (OWN,),
    "sms": (OWN,),
    "youtube": (OWN,),
    "digits_minority": (OWN,),
}


def full_plan() -> list[Unit]:
    """Every data set, five seeds."""
    return _units({name: _conditions(name) for name in SETS}, _FULL_SEEDS)


def quick_plan() -> list[Unit]:
    """A cut that ends in under ten minutes on two cores."""
    return _units(_QUICK, _QUICK_SEEDS)


def _conditions(data_set: str) -> tuple[str, ...]:
    if SETS[data_set].kind != "trained":
        return (OWN,)
    chosen = tuple(CONDITIONS) if data_set in _ALL_CONDITIONS else _STRONG
    return tuple(name for name in chosen if data_set not in _TWO_CLASSES or not name.startswith("symmetric"))


def _units(conditions: dict[str, tuple[str, ...]], seeds: int) -> list[Unit]:
    return [Unit(name, seed, chosen, _arms(name, seed)) for seed in range(seeds) for name, chosen in conditions.items()]


def _arms(data_set: str, seed: int) -> tuple[str, ...]:
    if SETS[data_set].kind == "minority":
        return (UNIFORM, DEFAULT, ORACLE)
    return (*ARMS, STABILITY) if seed == 0 else ARMS

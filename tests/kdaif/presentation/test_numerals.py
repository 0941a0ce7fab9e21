from __future__ import annotations

import numpy as np
import pytest

from kdaif.presentation import numerals


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numerals.percent(0.7719), "77.2"),
        (numerals.percent(np.float32(0.5), 0), "50"),
        (numerals.points(0.0241), "+2.4"),
        (numerals.points(-0.048), "−4.8"),
        (numerals.points(-0.0001), "0.0"),
        (numerals.p_value(0.0001), "< 0.001"),
        (numerals.p_value(0.0312), "0.031"),
        (numerals.number(200), "200"),
        (numerals.number(1234567), "1\u202f234\u202f567"),
        (numerals.number(204.888), "204.9"),
        (numerals.number(-14040.3), "−14\u202f040"),
        (numerals.number(0.00001), "1\u00a0×\u00a010⁻⁵"),
        (numerals.number("text"), "text"),
        (numerals.size(2.7e-7), "2.7\u00a0×\u00a010⁻⁷"),
        (numerals.size(-0.08439, 3), "0.0844"),
        (numerals.signed(5.234), "+5.23"),
        (numerals.decimals(-0.5), "−0.50"),
        (numerals.count(1171.7), "1\u202f172"),
        (numerals.duration(7.94), "7.9 s"),
        (numerals.duration(211.4), "3 min 31 s"),
        (numerals.duration(7322), "2 h 2 min"),
        (numerals.power(1e-4), "10⁻⁴"),
    ],
)
def test_numbers_as_a_person_writes_them(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf")])
def test_what_is_missing_is_a_dash(missing: float | None) -> None:
    writers = (
        numerals.percent,
        numerals.points,
        numerals.p_value,
        numerals.number,
        numerals.size,
        numerals.signed,
        numerals.decimals,
        numerals.count,
        numerals.duration,
    )

    assert {write(missing) for write in writers} == {"–"}


@pytest.mark.parametrize(("value", "unit"), [(5.2e-4, 1e-4), (0.05, 1e-2), (0.3, 1.0), (12.0, 1.0), (0.0, 1.0)])
def test_small_numbers_get_a_power_of_ten(value: float, unit: float) -> None:
    assert numerals.unit_of(value) == pytest.approx(unit)

"""How numbers are written on the page. What is missing, NaN or infinite becomes a dash."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, TypeGuard

NONE = "–"
_THIN_SPACE = "\u202f"


def percent(value: float | None, digits: int = 1) -> str:
    """A share in per cent, without the sign: .772 is 77.2."""
    return f"{100 * value:.{digits}f}" if _finite(value) else NONE


def points(value: float | None) -> str:
    """A difference of shares in percentage points, with its sign: .024 is +2.4."""
    if not _finite(value):
        return NONE
    rounded = round(100 * value, 1)
    return _minus(f"{rounded:+.1f}") if rounded else "0.0"


def p_value(value: float | None) -> str:
    """A probability in three digits, never zero."""
    if not _finite(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def number(value: Any) -> str:
    """A number in at most four significant digits, whole numbers in full; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return NONE if value is None else str(value)
    if not _finite(value):
        return NONE
    if value == round(value) or 1e4 <= abs(value) < 1e9:
        return _minus(f"{round(value):,}".replace(",", _THIN_SPACE))
    return _scientific(f"{value:.4g}")


def unit_of(value: float | None) -> float:
    """The power of ten, 1 or below, in which a number of this size is best told: 0.00052 in units of 0.0001."""
    if not _finite(value) or value == 0 or abs(value) >= 0.1:
        return 1.0
    return float(10.0 ** math.floor(math.log10(abs(value))))


def power(unit: float) -> str:
    """A power of ten: 0.0001 is 10⁻⁴."""
    return f"10{_raised(round(math.log10(unit)))}"


def decimals(value: float | None, digits: int = 2) -> str:
    """A fixed number of decimals."""
    return _minus(f"{value:.{digits}f}") if _finite(value) else NONE


def signed(value: float | None) -> str:
    """Two decimals with the sign."""
    return _minus(f"{value:+.2f}") if _finite(value) else NONE


def size(value: float | None, digits: int = 2) -> str:
    """Significant digits of a number whose sign says nothing, such as a standard error."""
    return _scientific(f"{abs(value):.{digits}g}") if _finite(value) else NONE


def count(value: float | None) -> str:
    """A whole number in groups of three."""
    return f"{round(value):,}".replace(",", _THIN_SPACE) if _finite(value) else NONE


def duration(seconds: float | None) -> str:
    """Seconds in the units a person would use."""
    if not _finite(seconds):
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _finite(value: Any) -> TypeGuard[float]:
    # Real rather than float: numpy's float32 is the first and not the second.
    return isinstance(value, Real) and math.isfinite(value)


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _scientific(text: str) -> str:
    """1.2e-05 as 1.2 × 10⁻⁵."""
    mantissa, mark, exponent = text.partition("e")
    if not mark:
        return _minus(text)
    return f"{_minus(mantissa)}\u00a0×\u00a010{_raised(int(exponent))}"


def _raised(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))

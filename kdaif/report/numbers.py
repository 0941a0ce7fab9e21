"""How numbers are written on the page. What is missing, NaN or infinite becomes a dash."""

from __future__ import annotations

import math
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
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NONE if value is None else str(value)
    if not math.isfinite(value):
        return NONE
    if float(value).is_integer() and abs(value) < 1e15:
        return _minus(f"{int(value):,}".replace(",", _THIN_SPACE))
    return _scientific(f"{value:.4g}")


def signed(value: float | None) -> str:
    """Two significant digits with the sign."""
    return _scientific(f"{value:+.2g}") if _finite(value) else NONE


def size(value: float | None) -> str:
    """Two significant digits of a number that has no sign, such as a standard error."""
    return _scientific(f"{abs(value):.2g}") if _finite(value) else NONE


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
    return isinstance(value, int | float) and math.isfinite(value)


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _scientific(text: str) -> str:
    """1.2e-05 as 1.2·10⁻⁵."""
    mantissa, mark, exponent = text.partition("e")
    if not mark:
        return _minus(text)
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{_minus(mantissa)}·10{raised}"

"""Templates of pages."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from kdaif.presentation import numerals
from kdaif.presentation.names import arm_name, figure_name


def environment(package: str, folder: str) -> Environment:
    """Of a package's templates. Every value is escaped where it is put in; a name that is not given is an error."""
    found = Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "percent": numerals.percent,
        "points": numerals.points,
        "p": numerals.p_value,
        "number": numerals.number,
        "signed": numerals.signed,
        "size": numerals.size,
        "count": numerals.count,
        "decimals": numerals.decimals,
        "duration": numerals.duration,
        "arm": arm_name,
        "figure": figure_name,
    }
    return found

"""Decisions on samples as options of a command."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kdaif_client.errors import InvalidArgument

Author = Annotated[str, typer.Option(envvar=["KDAIF_AUTHOR", "USER"], help="Who decides.")]
Ban = Annotated[list[str] | None, typer.Option("--ban", metavar="ID", help="This sample shall have no say.")]
Pin = Annotated[list[str] | None, typer.Option("--pin", metavar="ID=WEIGHT", help="It shall weigh exactly this.")]
Relabel = Annotated[list[str] | None, typer.Option("--relabel", metavar="ID=CLASS", help="It is of this class.")]
Clear = Annotated[list[str] | None, typer.Option("--clear", metavar="ID", help="Forget former decisions on it.")]


def decided(pin: Pin, ban: Ban, relabel: Relabel, clear: Clear) -> dict[str, Any]:
    """The arguments of ``Job.override`` and ``Job.resume``."""
    return {
        "pin": {sample: _number(weight) for sample, weight in _pairs("pin", pin)},
        "ban": ban or [],
        "relabel": dict(_pairs("relabel", relabel)),
        "clear": clear or [],
    }


def named(author: str) -> str:
    """Decisions are kept with a name, which a container's environment need not have."""
    if not author:
        raise InvalidArgument.of("author", "is not known; say who decides with --author NAME or KDAIF_AUTHOR")
    return author


def _pairs(option: str, given: list[str] | None) -> list[tuple[str, str]]:
    found = []
    for text in given or []:
        # An id may hold "=", a weight or a class hardly.
        sample, separator, value = text.rpartition("=")
        if not separator or not sample:
            raise InvalidArgument.of(option, f"is {text!r}; write ID=VALUE")
        found.append((sample, value))
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidArgument.of("pin", f"has the weight {text!r}; write a number, such as row-17=0.5") from None

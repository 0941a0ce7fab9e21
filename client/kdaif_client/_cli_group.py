"""The command with its commands, which says where an option belongs that stands in the wrong place."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class CommandGroup(TyperGroup):
    """As Typer's, but an option of `kdaif` itself behind a command is told to stand before it."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command. Typer does not show its kind of error for an unknown option, so its attributes tell."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            option, at = getattr(error, "option_name", None), getattr(error, "ctx", None)
            own = next((param for param in self.params if option in param.opts), None)
            if own is None or at is None or any(option in param.opts for param in at.command.params):
                raise
            program, _, command = at.command_path.partition(" ")
            value = "" if getattr(own, "is_flag", False) else f" {own.metavar or 'FILE'}"
            raise typer.BadParameter(
                f"it stands before the command: {program} {option}{value} {command}", ctx=at, param_hint=option
            ) from None

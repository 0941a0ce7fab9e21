"""The command with its commands, which says where an option belongs that stands in the wrong place."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

# What one needs first stands first.
PANELS = {
    "From data to a student": ("up", "check", "submit", "watch", "jobs", "pull"),
    "Samples, and a person's word": (
        *("weights", "explain", "history", "summary"),
        *("override", "overrides", "rerun", "diff", "audit"),
    ),
    "A job's life": ("cancel", "retry", "resume", "reject", "delete"),
    "Data sets, devices, other tools": ("upload", "datasets", "alias", "export-mlflow"),
}


class CommandGroup(TyperGroup):
    """As Typer's, but commands stand by purpose, and an option of `kdaif` itself behind one is told where it stands."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the panels."""
        order = [name for names in PANELS.values() for name in names]
        return sorted(super().list_commands(ctx), key=order.index)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One of them, which knows its panel."""
        command: Any = super().get_command(ctx, cmd_name)
        panel = next((panel for panel, names in PANELS.items() if cmd_name in names), None)
        if command is not None and panel is not None:
            command.rich_help_panel = panel
        return command

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

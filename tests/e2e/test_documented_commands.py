"""Every command that a page shows names a command and options that there are; no page's command is run here."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import kdaif_client.edge
import kdaif_server.cli
import kdaif_worker.cli
import pytest
import typer
from kdaif_client import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Dockerfile", "deploy/compose.yaml")),
    ROOT / "deploy/helm/kdaif/templates/NOTES.txt",
    ROOT / "server/kdaif_server/cli.py",
    *sorted((ROOT / "docs").glob("*.md")),
]
_COMMAND = re.compile(
    r"(?:^|[`(\s$])(?<!install )(?<!SETUSER )(kdaif(?:-server|-worker|-edge)?(?: [^`\n#|;)]+)?)", re.MULTILINE
)
_UNQUOTED = re.compile(r"(?:Try:|^#?) +(kdaif --[^\n]*?)(?:   |$)", re.MULTILINE)
_PARSERS = {
    "kdaif-server": kdaif_server.cli._parser,
    "kdaif-worker": kdaif_worker.cli._parser,
    "kdaif-edge": kdaif_client.edge._parser,
}


def commands_of(text: str) -> Iterator[list[str]]:
    """Those of code blocks, of code in a line, and of lines that begin with one."""
    joined = text.replace("\\\n", " ")
    for code in [*re.findall(r"```\w*\n(.*?)```", joined, re.DOTALL), *re.findall(r"`(kdaif[^`\n]*)`", joined)]:
        for found in _COMMAND.findall(code):
            yield found.split()
    yield from (found.split() for found in _UNQUOTED.findall(joined))


def unknown(words: list[str]) -> str | None:
    """The first command or option that there is not."""
    program, *rest = words
    options = [word.partition("=")[0] for word in rest if word.startswith("--") and len(word) > 2]
    if program != "kdaif":
        known = _argparse_options(_PARSERS[program]())
        return next((option for option in options if option not in known), None)
    command = typer.main.get_command(cli.app)
    known = {"--help"} | {name for each in command.params for name in each.opts}
    if rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]) and rest[0] not in getattr(command, "commands", {}):
        return rest[0]
    for word in rest:
        inside = getattr(command, "commands", {})
        if word in inside:
            command = inside[word]
            known = {"--help"} | {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        elif word.startswith("--") and word.partition("=")[0] not in known:
            return word
    return None


def _argparse_options(parser: argparse.ArgumentParser) -> set[str]:
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {option for each in action.choices.values() for option in _argparse_options(each)}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_a_page_names_is_there(page: Path) -> None:
    shown = list(commands_of(page.read_text()))
    assert {" ".join(words): option for words in shown if (option := unknown(words))} == {}


def test_an_option_in_the_wrong_place_is_found() -> None:
    (words,) = commands_of("```sh\nkdaif jobs --public-key x   # no\n```")
    assert unknown(words) == "--public-key"
    assert unknown(["kdaif", "--public-key", "x", "pull", "JOB"]) is None
    assert unknown(["kdaif-server", "keys", "create", "--tenants", "acme"]) == "--tenants"

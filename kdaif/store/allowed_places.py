"""Which folders and buckets an administrator allows, as they are written in the environment or on a command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator


def listed(given: object) -> object:
    """The places, or other names, in a text: separated by commas, or a JSON list where one has a comma in its name."""
    if not isinstance(given, str):
        return given
    if given.strip().startswith("["):
        return tuple(json.loads(given))
    return tuple(part.strip() for part in given.split(",") if part.strip())


def written(places: Sequence[Path | str]) -> str:
    """The text that `listed` reads as these places, whatever their names."""
    return json.dumps([str(place) for place in places])


def _absolute(roots: tuple[Path, ...]) -> tuple[Path, ...]:
    found = tuple(root.expanduser() for root in roots)
    if relative := [str(root) for root in found if not root.is_absolute()]:
        # A process that is started elsewhere would allow another folder.
        raise ValueError(f"{', '.join(relative)} is no absolute folder; write /folder or ~/folder")
    return found


AllowedRoots = Annotated[tuple[Path, ...], BeforeValidator(listed), AfterValidator(_absolute)]
Listed = Annotated[tuple[str, ...], BeforeValidator(listed)]
AllowedBuckets = Listed

"""What the scripts have to be for a Cluster."""

from __future__ import annotations

import re
from importlib.resources import files


def test_every_key_is_declared() -> None:
    """Redis Cluster routes a script by its KEYS: a key made inside a script would be looked for on the wrong node."""
    folder = files("kdaif.queue") / "lua"
    names: set[str] = set()
    used: set[str] = set()
    for file in folder.iterdir():
        text = file.read_text("utf-8")
        for left, right in re.findall(r"local ([A-Z, ]+) =\s+(KEYS.*)", text):
            assert len(left.split(",")) == len(re.findall(r"KEYS\[\d+\]", right)), f"{file}: {left}"
            names.update(name.strip() for name in left.split(","))
        for command, key in re.findall(r"redis\.call\('(\w+)'(?:, ([^,)]+))?", text):
            if command != "TIME":
                used.add(key)
    assert used == names

"""Make the blocking client of the async one, or with --check say whether the committed files are stale.

The source is ``client/kdaif_client/_async``; each file becomes ``client/kdaif_client/_NAME.py``, without ``async`` and
``await`` and with other names, as the package ``unasync`` does it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path("client/kdaif_client")
MODULES = ("client", "submission", "paging", "job", "line", "upload", "download", "weights", "audit")
HEAD = "# Generated from _async/{name}.py by tools/generate_blocking.py; edit that, then run `make blocking`.\n"
# In this order. A name that begins with Async loses that, so AsyncJob becomes Job and AsyncIterator Iterator.
REPLACED = (
    (r"Made in a coroutine, it belongs[^.]*\.", "Safe to use from several threads."),
    (r"kdaif_client\._async import (\w+) as _\1\b", r"kdaif_client import _\1"),
    (r"kdaif_client\._async\.(\w+)", r"kdaif_client._\1"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"__a(enter|exit|iter|next)__", r"__\1__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\bAsync(?=[A-Z]\w)", ""),
)


def blocking(source: str) -> str:
    """The same code for threads."""
    text = _without_parentheses(source)
    for pattern, replacement in REPLACED:
        text = re.sub(pattern, replacement, text)
    return text


def _without_parentheses(text: str) -> str:
    """``(await f(x)).y`` as ``f(x).y``: only await needs them."""
    while (start := text.find("(await ")) >= 0:
        depth, end = 1, start + 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        inner = text[start + len("(await ") : end - 1]
        # Of a call such as f(await g(x)) the parentheses are the call's own.
        is_calls_own = text[start - 1].isidentifier() or text[start - 1] in ")]"
        text = text[:start] + (f"({inner})" if is_calls_own else inner) + text[end:]
    return text


def _formatted(text: str, file: Path) -> str:
    for command in (("check", "--fix-only", "--select", "I,UP034", "--quiet"), ("format", "--quiet")):
        ruff = (sys.executable, "-m", "ruff", *command, "--stdin-filename", str(file), "-")
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout
    return text


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name in MODULES:
        target = PACKAGE / f"_{name}.py"
        made = _formatted(HEAD.format(name=name) + blocking((PACKAGE / "_async" / f"{name}.py").read_text()), target)
        if target.read_text() != made:
            stale.append(str(target))
            if not check:
                target.write_text(made)
    if check and stale:
        sys.exit(f"Not what client/kdaif_client/_async makes: {', '.join(stale)}. Edit that, then `make blocking`.")


if __name__ == "__main__":
    main()

"""The diagrams of the docs site, drawn from the mermaid blocks of its pages: the site loads no script from elsewhere.

    npm pack mermaid@11.17.2 && tar xzf mermaid-*.tgz
    python tools/docs_diagrams.py package/dist/mermaid.min.js

Writes ``docs/images/diagrams``: two files for each block, light and dark, named by the hash of its text. ``make docs``
fails for a block that has none, so no picture stays behind when its block changes.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
FOLDER = DOCS / "images" / "diagrams"
BLOCK = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
THEMES = {"light": "default", "dark": "dark"}
_DRAW = """async ([code, theme]) => {
    // Labels as SVG text: a picture in an <img> shows no HTML everywhere.
    const plain = {htmlLabels: false, useMaxWidth: false};
    const kinds = {flowchart: plain, state: plain, sequence: plain};
    mermaid.initialize({startOnLoad: false, theme, fontFamily: "sans-serif", ...plain, ...kinds});
    return (await mermaid.render("drawn", code)).svg;
}"""


def name_of(code: str) -> str:
    """Of the files of one block, without their theme."""
    return hashlib.sha256(code.encode()).hexdigest()[:12]


def main() -> None:
    """Entry point."""
    from playwright.sync_api import sync_playwright  # `make docs` reads this module and draws nothing

    script = Path(sys.argv[1])
    blocks = {name_of(code): code for page in DOCS.rglob("*.md") for code in BLOCK.findall(page.read_text())}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.svg"):
        old.unlink()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, code in blocks.items():
            for suffix, theme in THEMES.items():
                page = browser.new_page()
                page.set_content("<!doctype html><body></body>")
                page.add_script_tag(path=script)
                (FOLDER / f"{name}-{suffix}.svg").write_text(page.evaluate(_DRAW, [code, theme]) + "\n")
                page.close()
        browser.close()


if __name__ == "__main__":
    main()

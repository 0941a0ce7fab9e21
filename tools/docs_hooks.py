"""Pages of the docs site that are made of other files, so that nothing is written twice."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from docs_diagrams import BLOCK, FOLDER, THEMES, name_of  # noqa: E402
from proto_reference import proto_reference  # noqa: E402

_MADE = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
_PROTOS = "reference/protos.md"
# Where a link of a page leads in the repository, and on the site.
_ON_THE_SITE = {f"../{source}": page for page, source in _MADE.items()} | {"../proto/kdaif_proto/v1": _PROTOS}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the decisions, and leaves out pages that are not there."""
    docs = Path(config.docs_dir)
    config.nav = [entry for entry in (_present(entry, docs) for entry in config.nav or []) if entry]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made."""
    for page, source in _MADE.items():
        files.append(File.generated(config, page, content=_from_root((ROOT / source).read_text())))
    files.append(File.generated(config, _PROTOS, content=proto_reference(ROOT / "proto")))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_given: Any) -> str:
    """A link to a file beside the docs, which the site does not have, becomes its name, and a diagram its picture."""
    markdown = re.sub(r"\[([^\]]+)\]\((?:\.\./)+(?:README|examples|benchmarks|tests|deploy)[^)]*\)", r"\1", markdown)
    for there, here in _ON_THE_SITE.items():
        markdown = markdown.replace(f"]({there})", f"]({here})")
    up = "../" * page.file.src_uri.count("/")
    return BLOCK.sub(lambda found: _pictures(found[1], up), markdown)


def _pictures(code: str, up: str) -> str:
    name = name_of(code)
    if missing := [suffix for suffix in THEMES if not (FOLDER / f"{name}-{suffix}.svg").exists()]:
        raise PluginError(
            f"no {' and no '.join(missing)} picture of a changed diagram; run tools/docs_diagrams.py:\n{code}"
        )
    return "\n".join(f"![Diagram]({up}images/diagrams/{name}-{suffix}.svg#only-{suffix})" for suffix in THEMES)


def _present(entry: Any, docs: Path) -> Any:
    ((title, value),) = entry.items()
    if title == "Decisions":
        return {title: [f"adr/{file.name}" for file in sorted((docs / "adr").glob("*.md"))]}
    if isinstance(value, list):
        return {title: [found for each in value if (found := _present(each, docs))]}
    made = (*_MADE, _PROTOS)
    return entry if value in made or (docs / value).exists() else None


def _from_root(markdown: str) -> str:
    """Links of a file in the root of the repository, as seen from the docs."""
    return re.sub(r"\]\(docs/", "](", markdown)

"""Pages of the docs site that are made of other files, so that nothing is written twice."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from proto_reference import proto_reference  # noqa: E402

_MADE = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the decisions, and leaves out pages that are not there."""
    docs = Path(config.docs_dir)
    config.nav = [entry for entry in (_present(entry, docs) for entry in config.nav or []) if entry]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made."""
    for page, source in _MADE.items():
        files.append(File.generated(config, page, content=_from_root((ROOT / source).read_text())))
    files.append(File.generated(config, "reference/protos.md", content=proto_reference(ROOT / "proto")))
    return files


def on_page_markdown(markdown: str, **_given: Any) -> str:
    """A link to a file beside the docs, which the repository shows and the site does not have, becomes its name."""
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+(?:README|examples|benchmarks|tests|deploy)[^)]*\)", r"\1", markdown)


def _present(entry: Any, docs: Path) -> Any:
    ((title, value),) = entry.items()
    if title == "Decisions":
        return {title: [f"adr/{file.name}" for file in sorted((docs / "adr").glob("*.md"))]}
    if isinstance(value, list):
        return {title: [found for each in value if (found := _present(each, docs))]}
    made = (*_MADE, "reference/protos.md")
    return entry if value in made or (docs / value).exists() else None


def _from_root(markdown: str) -> str:
    """Links of a file in the root of the repository, as seen from the docs."""
    return re.sub(r"\]\(docs/", "](", markdown)

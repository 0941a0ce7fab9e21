"""Run each step of a Dockerfile's target without a Docker engine: ``rehearse_dockerfile.py server edge``.

Each stage gets an empty folder for its root, and each absolute path that the file names lies below it. The base image
is this machine with this Python, so what the base lacks is not found out. All that the file does itself is: what it
copies, that it installs from the pins into an empty environment, and that the entry point starts. Prints the size of
what a target adds to its base.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

_BASE = "the base image"


@dataclass
class Stage:
    """One FROM and what follows."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def stages_of(text: str) -> dict[str, Stage]:
    """By name, in the order of the file. Raises ValueError for what this rehearsal does not know."""
    stages: dict[str, Stage] = {}
    joined = re.sub(r"\\\n\s*", "", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    for line in filter(None, joined.splitlines()):
        verb, _, rest = line.partition(" ")
        if verb == "FROM":
            base, _, name = rest.partition(" AS ")
            stages[name] = Stage(name, base if base in stages else _BASE)
        elif stages:
            next(reversed(stages.values())).steps.append((verb, rest.strip()))
        elif verb != "ARG":
            raise ValueError(f"{line!r} stands before the first FROM")
    return stages


class Rehearsal:
    """Builds stages below one folder.

    Args:
        stages: of the Dockerfile.
        context: what COPY copies from.
        folder: empty.
    """

    def __init__(self, stages: dict[str, Stage], context: Path, folder: Path) -> None:
        self._stages = stages
        self._context = context
        self._saved = folder / "stages"
        # Every stage is built at one place: an environment's scripts name the Python that made them.
        self._root = folder / "root"
        places = {
            rest.split()[-1] for stage in stages.values() for verb, rest in stage.steps if verb in ("COPY", "WORKDIR")
        }
        self._places = sorted((place for place in places if place.startswith("/")), key=len, reverse=True)
        self._environment: dict[str, dict[str, str]] = {_BASE: dict(os.environ) | {"PATH": _path_of_this_python()}}
        self._folders: dict[str, Path] = {_BASE: self._root}

    def build(self, name: str) -> None:
        """The stage and all that it stands on or copies from."""
        stage = self._stages[name]
        needed = {stage.base} | {
            m[1] for verb, rest in stage.steps if verb == "COPY" and (m := re.match(r"--from=(\S+)", rest))
        }
        for other in needed - {_BASE}:
            if not (self._saved / other).exists():
                self.build(other)
        shutil.rmtree(self._root, ignore_errors=True)
        if stage.base == _BASE:
            self._root.mkdir(parents=True)
        else:
            shutil.copytree(self._saved / stage.base, self._root, symlinks=True)
        environment, folder = dict(self._environment[stage.base]), self._folders[stage.base]
        for verb, rest in stage.steps:
            if verb in ("RUN", "COPY"):
                sys.stdout.write(f"[{name}] {verb} {rest}\n")
                sys.stdout.flush()
            if verb == "RUN":
                subprocess.run(["/bin/sh", "-ec", self._here(rest)], cwd=folder, env=environment, check=True)
            elif verb == "COPY":
                self._copy(rest, folder)
            elif verb == "WORKDIR":
                folder = Path(self._here(rest))
                folder.mkdir(parents=True, exist_ok=True)
            elif verb == "ENV":
                for key, value in re.findall(r"(\w+)=(\S+)", rest):
                    environment[key] = self._here(value).replace("${PATH}", environment["PATH"])
            elif verb == "ARG":
                key, _, value = rest.partition("=")
                environment.setdefault(key, value.strip('"'))
            elif verb == "ENTRYPOINT":
                command = json.loads(rest)
                shown = subprocess.run(
                    [shutil.which(command[0], path=environment["PATH"]) or command[0], *command[1:], "--help"],
                    env=environment, cwd=folder, capture_output=True, text=True, check=True,
                )  # fmt: skip
                sys.stdout.write(f"[{name}] {command[0]} --help: {len(shown.stdout.splitlines())} lines\n")
            elif verb not in ("USER", "EXPOSE", "HEALTHCHECK", "CMD"):
                raise ValueError(f"{verb} is not rehearsed; teach it here")
        self._environment[name], self._folders[name] = environment, folder
        self._root.rename(self._saved / name)

    def size_mb(self, name: str) -> float:
        """Megabytes of the files of a stage."""
        files = (path for path in (self._saved / name).rglob("*") if path.is_file() and not path.is_symlink())
        return sum(path.stat().st_size for path in files) / 1e6

    def _copy(self, rest: str, folder: Path) -> None:
        words = rest.split()
        source = self._context
        if words[0].startswith("--from="):
            source = self._saved / words.pop(0).removeprefix("--from=")
        *names, target = words
        to = Path(self._here(target)) if target.startswith("/") else folder / target
        for name in names:
            path = source / name.lstrip("/")
            if path.is_dir():
                shutil.copytree(
                    path, to, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                into = to / path.name if target.endswith("/") else to
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, into)

    def _here(self, text: str) -> str:
        for place in self._places:
            text = re.sub(rf"(?<![\w/.]){re.escape(place)}(?![\w-])", f"{self._root}{place}", text)
        return text


def _path_of_this_python() -> str:
    """A PATH on which ``python`` is the interpreter itself and not that of a virtual environment."""
    return f"{Path(sys.base_prefix) / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"


def main() -> None:
    """Builds the targets that the arguments name."""
    stages = stages_of(Path("Dockerfile").read_text("utf-8"))
    targets = sys.argv[1:]
    if not targets or set(targets) - stages.keys():
        sys.exit(f"usage: rehearse_dockerfile.py TARGET...; the targets are {', '.join(stages)}")
    os.environ.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory(prefix="kdaif-image-") as folder:
        (Path(folder) / "stages").mkdir()
        rehearsal = Rehearsal(stages, Path.cwd(), Path(folder))
        for target in targets:
            rehearsal.build(target)
            sys.stdout.write(f"[{target}] adds {rehearsal.size_mb(target):.0f} MB to its base\n")


if __name__ == "__main__":
    main()

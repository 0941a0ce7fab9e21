"""Generate the Python stubs of the protos beside them, or with --check say whether the committed ones are stale."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path("kdaif_proto/v1")
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def generate(root: Path, out: Path) -> None:
    """Write the stubs of every proto below ``root`` into ``out``."""
    scripts = Path(sys.executable).parent
    plugins = [f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    outputs = [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    protos = sorted(str(file) for file in (root / PACKAGE).glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", *plugins, *outputs, *protos]
    subprocess.run(command, check=True, stderr=subprocess.PIPE)


def stale(root: Path, fresh: Path) -> list[str]:
    """Names of stubs that differ between ``root`` and ``fresh``, or that only one of them has."""

    def stubs(folder: Path) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.endswith(SUFFIXES)}

    committed, generated = stubs(root / PACKAGE), stubs(fresh / PACKAGE)
    return sorted(name for name in committed.keys() | generated.keys() if committed.get(name) != generated.get(name))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if not arguments.check:
        generate(arguments.root, arguments.root)
        return
    with tempfile.TemporaryDirectory() as fresh:
        generate(arguments.root, Path(fresh))
        names = stale(arguments.root, Path(fresh))
    if names:
        sys.exit(f"Stubs differ from the protos: {', '.join(names)}. Run `make proto` and commit them.")


if __name__ == "__main__":
    main()

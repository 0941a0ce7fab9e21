import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {
    ".": "kdaif",
    "proto": "kdaif_proto",
    "client": "kdaif_client",
    "server": "kdaif_server",
    "worker": "kdaif_worker",
}


def wheel_of(folder: str, built: Path) -> zipfile.ZipFile:
    """Built anew, in an empty folder."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)],
        cwd=ROOT / folder,
        check=True,
        capture_output=True,
    )
    (wheel,) = built.glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.mark.parametrize(("folder", "package"), DISTRIBUTIONS.items())
def test_a_wheel_holds_one_package(folder: str, package: str, tmp_path: Path) -> None:
    with wheel_of(folder, tmp_path) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {package}
    assert f"{package}/py.typed" in names
    # Not only Python: the Lua of the queue, the template of the report, the protos.
    carried = {path.suffix for path in (ROOT / folder / package).rglob("*") if path.is_file()} - {".py", ".pyc"}
    assert carried <= {Path(name).suffix for name in names}

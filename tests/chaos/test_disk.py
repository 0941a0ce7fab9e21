import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.disk import Disk

_WRITER = """
import sys
for number, line in enumerate(sys.stdin):
    try:
        with open(f"{sys.argv[1]}-{number}", "wb", buffering=0) as file:
            file.write(b"x" * 5000)
        print("written", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk", 2)
    yield disk
    disk.close()


def test_nothing_can_be_written_to_a_full_disk_until_it_is_freed(disk: Disk) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(disk.folder / "file")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        requests, answers = writer.stdin, writer.stdout
        assert requests is not None
        assert answers is not None

        def tried() -> str:
            requests.write("\n")
            requests.flush()
            return answers.readline().strip()

        assert tried() == "written"
        disk.fill([writer.pid])
        assert int(tried()) in (errno.ENOSPC, errno.EFBIG)
        disk.free([writer.pid])
        assert tried() == "written"
        requests.close()


def test_without_a_mount_a_limit_on_the_size_of_files_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    disk = Disk(tmp_path / "disk", 2)
    assert disk.how == "RLIMIT_FSIZE"
    monkeypatch.undo()
    test_nothing_can_be_written_to_a_full_disk_until_it_is_freed(disk)

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from kdaif_client._swap import refuse_swapped, swapped
from kdaif_client.errors import CorruptDownload, InvalidArgument


def put(folder: Path, version: str) -> bool:
    with swapped(folder, version) as place:
        place.folder.mkdir(exist_ok=True)
        for name in ("manifest.json", "model.onnx"):
            if not (place.folder / name).exists():
                (place.folder / name).write_text(version)
    return place.changes


def test_a_folder_changes_in_one_step_and_keeps_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    assert put(folder, "a")
    assert not put(folder, "a")
    for version in "bcd":
        assert put(folder, version)
    assert (folder / "model.onnx").read_text() == "d"
    kept = {entry.name for entry in (tmp_path / ".student.versions").iterdir() if entry.is_dir()}
    assert kept == {"c", "d"}
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("student", ".student.versions"):
        (tmp_path / name).rename(moved / name)
    assert (moved / "student" / "model.onnx").read_text() == "d"


def test_a_pull_of_a_job_leaves_alone_what_devices_run(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    refuse_swapped(folder)
    put(folder, "a")
    with pytest.raises(InvalidArgument, match="kept by `kdaif pull --alias`"):
        refuse_swapped(folder)
    own = tmp_path / "own"
    own.symlink_to(tmp_path)
    refuse_swapped(own)


def test_what_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    put(folder, "a")

    def break_off() -> None:
        with swapped(folder, "b") as place:
            place.folder.mkdir()
            (place.folder / ".model.onnx.part").write_text("half")
            raise CorruptDownload("a flipped byte")

    with pytest.raises(CorruptDownload, match="flipped"):
        break_off()
    assert (folder / "model.onnx").read_text() == "a"
    assert put(folder, "b")
    with pytest.raises(CorruptDownload, match="no id"), swapped(folder, ".."):
        pass


def test_somebody_elses_link_and_folder_stay(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    link = tmp_path / "student"
    link.symlink_to(disk)
    assert put(link, "a")
    assert (link.readlink(), (disk / "model.onnx").read_text()) == (disk, "a")
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(InvalidArgument, match="something else"):
        put(tmp_path / "notes", "a")


def test_readers_always_find_one_version_whole(tmp_path: Path) -> None:
    folder, stop, seen = tmp_path / "student", threading.Event(), list[tuple[str, str]]()
    put(folder, "a")

    def read() -> None:
        while not stop.is_set():
            place = folder.resolve()
            seen.append(((place / "manifest.json").read_text(), (place / "model.onnx").read_text()))

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(200):
        put(folder, "b" if number % 2 else "a")
    stop.set()
    thread.join()
    assert seen
    assert {manifest for manifest, _ in seen} <= {"a", "b"}
    assert all(manifest == model for manifest, model in seen)

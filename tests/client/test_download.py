"""Bundles arrive whole or not at all."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from kdaif_client import Client, Job, Student, verify
from kdaif_client.errors import CorruptDownload, NotFound
from kdaif_proto.v1 import jobs_pb2 as jb

from tests.client.conftest import CLASSES, Bundle, make_bundle
from tests.client.small_server import SmallServer
from tests.client.small_state import PARENT

CHUNK = 512 * 1024


def job_with(server: SmallServer, client: Client, files: dict[str, bytes]) -> Job:
    job = server.state.add_job("j1", jb.JOB_STATE_SUCCEEDED)
    job.result.student = server.state.add_student("j1", files, CLASSES)
    return client.get_job("j1")


def test_a_student_is_fetched_verified_and_run(
    server: SmallServer, client: Client, image_bundle: Bundle, tmp_path: Path
) -> None:
    job = job_with(server, client, image_bundle.files)
    student = job.download_student(tmp_path / "new" / "student")
    assert student.class_names == ("cat", "dog", "owl")
    assert set(student.predict(np.zeros((5, 8, 8), np.uint8))) == {"cat"}
    assert sorted(path.name for path in student.folder.iterdir()) == sorted([*image_bundle.files, "signature.json"])
    reads = server.state.calls["ReadBundle"]
    job.download_student(tmp_path / "new" / "student")
    assert server.state.calls["ReadBundle"] == reads
    assert [each.name for each in client.list_students()] == [f"{PARENT}/students/j1"]
    assert client.get_student("j1").files == job.student().files


def test_a_cut_download_goes_on_at_its_offset(server: SmallServer, client: Client, tmp_path: Path) -> None:
    files = make_bundle("image", (8, 8, 1), ["image"], {"a.bin": bytes(range(256)) * 8 * 1024}).files
    server.state.cut_reads = [CHUNK, CHUNK, CHUNK, 2 * CHUNK]  # the first two files are shorter than that
    student = job_with(server, client, files).download_student(tmp_path)
    assert server.state.offsets[:5] == [0, 0, 0, CHUNK, 3 * CHUNK]
    assert (student.folder / "a.bin").read_bytes() == files["a.bin"]


def test_100_mb_that_are_cut_again_and_again_are_fetched_once(
    server: SmallServer, client: Client, tmp_path: Path
) -> None:
    large = random.Random(0).randbytes(100_000_000)
    files = make_bundle("image", (8, 8, 1), ["image"], {"a.bin": large}).files
    cuts = [40 * CHUNK, 7 * CHUNK, 90 * CHUNK]
    server.state.cut_reads = [10**9, 10**9, *cuts]  # the first two files are small and stay whole
    student = job_with(server, client, files).download_student(tmp_path)
    assert (student.folder / "a.bin").read_bytes() == large
    # Each stream begins where the one before it ended, so no byte comes twice.
    expected = [sum(cuts[:number]) for number in range(len(cuts) + 1)]
    assert server.state.offsets[2 : 2 + len(expected)] == expected


def test_a_later_call_takes_up_the_part_of_an_earlier_one(server: SmallServer, client: Client, tmp_path: Path) -> None:
    files = make_bundle("image", (8, 8, 1), ["image"], {"a.bin": bytes(range(256)) * 8 * 1024}).files
    job = job_with(server, client, files)
    sha = next(file.sha256 for file in job.student().files if file.path == "a.bin")
    (tmp_path / f".a.bin.{sha[:16]}.part").write_bytes(files["a.bin"][: CHUNK + 7])
    job.download_student(tmp_path)
    assert CHUNK + 7 in server.state.offsets


@pytest.mark.parametrize("part", [b"wrong from the start", b"x" * 9_000_000])
def test_a_wrong_part_costs_a_second_fetch_and_nothing_else(
    server: SmallServer, client: Client, image_bundle: Bundle, tmp_path: Path, part: bytes
) -> None:
    job = job_with(server, client, image_bundle.files)
    sha = next(file.sha256 for file in job.student().files if file.path == "model.onnx")
    (tmp_path / f".model.onnx.{sha[:16]}.part").write_bytes(part)
    job.download_student(tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == image_bundle.files["model.onnx"]


def test_a_corrupt_byte_is_refused_and_nothing_is_put_in_place(
    server: SmallServer, client: Client, image_bundle: Bundle, tmp_path: Path
) -> None:
    job = job_with(server, client, image_bundle.files)
    key = (f"{PARENT}/students/j1", "model.onnx")
    data = bytearray(server.state.files[key])
    data[len(data) // 2] ^= 1
    server.state.files[key] = bytes(data)
    with pytest.raises(CorruptDownload, match=r"model\.onnx of .* It was thrown away"):
        job.download_student(tmp_path)
    assert not (tmp_path / "model.onnx").exists()
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("change", ["short", "long"])
def test_a_file_of_another_size_is_refused(
    server: SmallServer, client: Client, image_bundle: Bundle, tmp_path: Path, change: str
) -> None:
    job = job_with(server, client, image_bundle.files)
    key = (f"{PARENT}/students/j1", "model.onnx")
    data = server.state.files[key]
    server.state.files[key] = data[:-1] if change == "short" else data + b"!"
    with pytest.raises(CorruptDownload):
        job.download_student(tmp_path)


def test_a_manifest_of_another_bundle_is_refused(
    server: SmallServer, client: Client, image_bundle: Bundle, numeric_bundle: Bundle, tmp_path: Path
) -> None:
    files = image_bundle.files | {"manifest.json": numeric_bundle.files["manifest.json"]}
    with pytest.raises(CorruptDownload, match=r"disagree on model\.onnx"):
        job_with(server, client, files).download_student(tmp_path)
    assert not (tmp_path / "model.onnx").exists()
    without = {name: data for name, data in image_bundle.files.items() if name != "manifest.json"}
    with pytest.raises(CorruptDownload, match=r"has no manifest\.json"):
        job_with(server, client, without).download_student(tmp_path)


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "a\\evil", "C:evil"])
def test_a_path_out_of_the_folder_is_refused(
    server: SmallServer, client: Client, image_bundle: Bundle, tmp_path: Path, path: str
) -> None:
    job = job_with(server, client, image_bundle.files | {path: b"evil"})
    with pytest.raises(CorruptDownload, match="outside its folder"):
        job.download_student(tmp_path / "a" / "b")
    assert list(tmp_path.rglob("*evil*")) == []


def test_another_student_in_the_same_folder_takes_its_place(
    server: SmallServer, client: Client, image_bundle: Bundle, numeric_bundle: Bundle, tmp_path: Path
) -> None:
    job_with(server, client, image_bundle.files).download_student(tmp_path)
    student = job_with(server, client, numeric_bundle.files).download_student(tmp_path)
    assert student.predict(np.zeros((1, 3))).tolist() == ["cat"]


def test_opening_verifies_again(server: SmallServer, client: Client, image_bundle: Bundle, tmp_path: Path) -> None:
    job_with(server, client, image_bundle.files).download_bundle(tmp_path)
    Student.open(str(tmp_path))
    (tmp_path / "certificate.json").write_bytes(b"[]")
    with pytest.raises(CorruptDownload, match=r"certificate\.json is not what was published"):
        Student.open(tmp_path)
    (tmp_path / "certificate.json").unlink()
    with pytest.raises(CorruptDownload, match=r"certificate\.json is missing"):
        verify(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(CorruptDownload, match="is no manifest"):
        verify(tmp_path)
    with pytest.raises(NotFound, match=r"holds no manifest\.json"):
        verify(tmp_path / "elsewhere")

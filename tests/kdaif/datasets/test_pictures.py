"""A column of PNG and JPEG bytes. What is wrong with a picture is wrong with its row alone."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from kdaif.datasets import inputs
from kdaif.datasets.rows import InputSignature
from kdaif.records import Severity
from tests.kdaif.datasets.conftest import MakeJob
from tests.kdaif.datasets.real_data import cifar


def pixels(rows: int, *, seed: int, shape: tuple[int, ...] = (6, 5, 3)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (rows, *shape), dtype=np.uint8)


def encoded(array: np.ndarray[Any, Any], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def sets(labeled: list[Any], unlabeled: list[Any]) -> dict[str, pa.Table]:
    ids = [[f"{part}{row}" for row in range(len(rows))] for part, rows in (("l", labeled), ("u", unlabeled))]
    labels = ["a", "b"] * (len(labeled) // 2)
    return {
        "labeled": pa.table({"id": ids[0], "image": pa.array(labeled, pa.binary()), "label": labels}),
        "unlabeled": pa.table({"id": ids[1], "image": pa.array(unlabeled, pa.binary())}),
    }


def pngs(rows: int, **how: Any) -> list[Any]:
    return [encoded(each) for each in pixels(rows, **how)]


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is this large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("shape", "wanted"), [((6, 5, 3), (6, 5, 3)), ((6, 5), (6, 5, 1))])
def test_pictures_are_decoded_as_they_were(job: MakeJob, shape: tuple[int, ...], wanted: tuple[int, int, int]) -> None:
    made = job(sets(pngs(40, seed=0, shape=shape), pngs(9, seed=1, shape=shape)), student={"kind": "cnn"})
    report, data = made.preflight(), made.prepare()
    assert report == data.report
    assert data.signature == InputSignature("image", wanted, ("image",))
    assert data.unlabeled.features.dtype == np.uint8
    assert np.array_equal(data.unlabeled.features, pixels(9, seed=1, shape=shape).reshape(9, *wanted))


def test_real_jpegs(job: MakeJob) -> None:
    data = job(cifar()).prepare()
    assert data.signature.shape == (32, 32, 3)
    first = np.asarray(Image.open(io.BytesIO(cifar()["unlabeled"]["image"][0].as_py())))
    assert np.array_equal(data.unlabeled.features[data.unlabeled.ids.tolist().index("c120")], first)


@pytest.mark.parametrize("decode", [False, True])
def test_broken_pictures_reject_their_rows(job: MakeJob, decode: bool) -> None:
    gif = io.BytesIO()
    Image.fromarray(pixels(1, seed=2)[0]).save(gif, "GIF")
    sixteen = io.BytesIO()
    Image.fromarray(np.arange(30, dtype=np.uint16).reshape(6, 5)).save(sixteen, "PNG")
    bad = [b"", b"\x89PNG", b"not a picture", gif.getvalue(), sixteen.getvalue(), png_header(100_000, 100_000)]
    made = job(sets(pngs(40, seed=0), [*bad, None, *pngs(20, seed=1)]))
    findings = made.prepare().report.findings if decode else made.preflight().findings
    found = {finding.code: finding for finding in findings}
    assert found["BAD_IMAGE"].severity is Severity.WARNING
    assert found["BAD_IMAGE"].ids == ("u0", "u1", "u2", "u3", "u4", "u5")
    assert found["NULL_FEATURE"].ids == ("u6",)
    assert len(made.prepare().unlabeled) == 20


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_cut_short_is_found_when_it_is_decoded(job: MakeJob, kind: str) -> None:
    whole = encoded(pixels(1, seed=3, shape=(64, 64, 3))[0], kind)
    good = [encoded(each, kind) for each in pixels(50, seed=4, shape=(64, 64, 3))]
    made = job(sets(good[:40], [whole[: len(whole) // 2], *good[40:]]))
    assert "BAD_IMAGE" not in made.codes()  # headers alone
    data = made.prepare()
    assert [(f.code, f.ids) for f in data.report.findings if f.code == "BAD_IMAGE"] == [("BAD_IMAGE", ("u0",))]
    assert len(data.unlabeled) == 10


def test_another_size_or_mode_rejects_the_row_and_says_how_to_scale(job: MakeJob) -> None:
    unlike = [encoded(pixels(1, seed=5, shape=(7, 5, 3))[0]), encoded(pixels(1, seed=6, shape=(6, 5))[0])]
    finding = job(sets(pngs(40, seed=0), [*unlike, *pngs(9, seed=1)])).finding("OTHER_IMAGE_SIZE")
    assert finding.ids == ("u0", "u1")
    assert "inputs.image_height" in finding.message


def test_pictures_are_scaled_where_the_spec_gives_a_size(job: MakeJob) -> None:
    flat = [np.full((4 + row, 9, 3), 10 * row, np.uint8) for row in range(20)]
    tables = sets(pngs(40, seed=0), [encoded(each) for each in flat])
    data = job(tables, inputs={"image_height": 3, "image_width": 2}).prepare()
    assert data.signature.shape == (3, 2, 3)
    assert data.unlabeled.features[:, 0, 0, 0].tolist() == [10 * row for row in range(20)]
    assert data.labeled.features.std() > 1


def test_see_through_pictures_are_rejected_and_opaque_ones_lose_their_alpha(job: MakeJob) -> None:
    opaque = pixels(20, seed=1, shape=(6, 5, 4))
    opaque[..., 3] = 255
    see_through = opaque[0].copy()
    see_through[2, 2, 3] = 0
    data = job(sets(pngs(40, seed=0), [encoded(see_through), *map(encoded, opaque)])).prepare()
    assert np.array_equal(data.unlabeled.features, opaque[..., :3])
    bad = next(finding for finding in data.report.findings if finding.code == "BAD_IMAGE")
    assert (bad.ids, "see-through" in bad.message) == (("u0",), True)


def test_pictures_that_would_not_fit_are_refused_before_they_are_decoded(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MOST_BYTES", 40 * 6 * 5 * 3)
    made = job(sets(pngs(40, seed=0), pngs(41, seed=1)))
    assert made.finding("TOO_LARGE").field == "spec.unlabeled"


def test_no_picture_at_all_is_refused(job: MakeJob) -> None:
    made = job(sets([b"x"] * 40, pngs(9, seed=1)))
    assert "damaged" in made.finding("NO_FEATURES").message


def test_tensors_and_files_do_not_mix(job: MakeJob) -> None:
    tables = sets(pngs(40, seed=0), pngs(9, seed=1))
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels(9, seed=1))
    tables["unlabeled"] = pa.table({"id": np.arange(9), "image": tensors})
    assert "encoded 'image'" in job(tables).finding("OTHER_SHAPE").message


def test_d12_equal_pictures_are_found(job: MakeJob) -> None:
    labeled = pixels(40, seed=0)
    again = io.BytesIO()
    Image.fromarray(labeled[1]).save(again, "PNG", compress_level=0)
    made = job(sets([encoded(each) for each in labeled], [encoded(labeled[0]), again.getvalue(), *pngs(9, seed=1)]))
    assert made.finding("UNLABELED_ROW_IN_LABELED").ids == ("u0",)  # equal bytes
    found = {finding.code: finding.ids for finding in made.prepare().report.findings}
    assert found["UNLABELED_ROW_IN_LABELED"] == ("u0", "u1")  # equal pixels
    tables = sets([encoded(each) for each in labeled], [])
    tables["unlabeled"] = tables["labeled"].drop_columns(["label"])
    assert job(tables).finding("NO_ROWS_LEFT").field == "spec.unlabeled"

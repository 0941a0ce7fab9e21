"""PNG and JPEG pictures in a column of bytes. Nothing else is opened, and nothing large is decoded."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from kdaif.datasets.hashing import text_hashes
from kdaif.datasets.matrices import plain

# 48 MB of RGB. A file of a few kilobytes can say that it holds more than the memory has.
MOST_PIXELS_A_SIDE = 4096
FORMATS = ("PNG", "JPEG")
RESIZE_FILTER = "bilinear"
_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 3}


@dataclass(frozen=True, eq=False)
class Headers:
    """What the headers of N pictures say.

    Attributes:
        shapes: int32 [N, 3], height, width and channels (1 grey, 3 colour); zeros where there is no usable picture.
        null: bool [N], no bytes at all.
        reasons: why a picture is unusable, each reason once.
    """

    shapes: NDArray[np.int32]
    null: NDArray[np.bool_]
    reasons: tuple[str, ...]

    @property
    def broken(self) -> NDArray[np.bool_]:
        """Bool [N]: bytes that are no usable picture."""
        return np.asarray(~self.null & (self.shapes[:, 0] == 0))

    def commonest_shape(self) -> tuple[int, int, int] | None:
        """Height, width and channels of most pictures, the first found among equals; None where none is usable."""
        usable = self.shapes[self.shapes[:, 0] > 0]
        if not len(usable):
            return None
        height, width, channels = Counter(map(tuple, usable.tolist())).most_common(1)[0][0]
        return height, width, channels


def read_headers(column: Iterable[tuple[slice, pa.Array]], rows: int) -> Headers:
    """Opens every picture of a column of bytes without decoding it: some 20 microseconds each.

    Args:
        column: runs of its rows.
        rows: N.
    """
    shapes = np.zeros((rows, 3), dtype=np.int32)
    null = np.zeros(rows, dtype=np.bool_)
    reasons: Counter[str] = Counter()
    for run, values in column:
        for row, data in enumerate(_cells(values), run.start):
            if data is None:
                null[row] = True
                continue
            try:
                with _opened(data) as picture:
                    shapes[row] = (picture.height, picture.width, _CHANNELS[picture.mode])
            except ValueError as error:
                reasons[str(error)] += 1
    return Headers(shapes, null, tuple(reason for reason, _ in reasons.most_common(3)))


def decode(
    values: pa.Array, wanted: NDArray[np.bool_], shape: tuple[int, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Counter[str]]:
    """Pictures as arrays, scaled where they are of another size than ``shape``.

    Scaling is Pillow's bilinear filter, which averages over all pixels that a smaller one covers. An EXIF orientation
    is not followed: the pixels are taken as they are stored.

    Args:
        values: bytes of N pictures.
        wanted: bool [N], the rows to decode.
        shape: height, width and channels.

    Returns:
        uint8 [N, H, W, C], zeros where there is no picture; bool [N], the wanted rows that are broken; how many of
        them for each reason.
    """
    height, width, channels = shape
    images = np.zeros((len(values), height, width, channels), dtype=np.uint8)
    broken = np.zeros(len(values), dtype=np.bool_)
    reasons: Counter[str] = Counter()
    for row, data in enumerate(_cells(values)):
        if data is None or not wanted[row]:
            continue
        try:
            images[row] = _decoded(data, height, width).reshape(shape)
        except ValueError as error:
            broken[row] = True
            reasons[str(error)] += 1
    return images, broken, reasons


def picture_hashes(values: pa.Array) -> NDArray[np.uint64]:
    """uint64 [N]: hash of the pictures as they are stored."""
    return text_hashes(values.cast(plain(values.type)).cast(pa.large_binary()).fill_null(b""))


def _cells(values: pa.Array) -> list[bytes | None]:
    found: list[bytes | None] = values.cast(plain(values.type)).to_pylist()
    return found


def _opened(data: bytes) -> Image.Image:
    """The picture, its header checked.

    Raises:
        ValueError: it is damaged, of another format or mode, or too large.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them stumble over
        raise ValueError("damaged, or neither PNG nor JPEG") from error
    if max(picture.size) > MOST_PIXELS_A_SIDE:
        raise ValueError(f"more than {MOST_PIXELS_A_SIDE} pixels high or wide")
    if picture.mode not in _CHANNELS:
        raise ValueError(f"of mode {picture.mode}, not grey or RGB of 8 bits")
    return picture


def _decoded(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    with _opened(data) as picture:
        try:
            picture.load()
        except Exception as error:  # as above
            raise ValueError("damaged, or cut short") from error
        image: Image.Image = picture
        if picture.mode == "RGBA":
            # The colours under a see-through pixel are whatever the program left there.
            if picture.getchannel("A").getextrema() != (255, 255):
                raise ValueError("see-through in places; put it on a background and save it as RGB")
            image = picture.convert("RGB")
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling[RESIZE_FILTER.upper()])
        return np.asarray(image)

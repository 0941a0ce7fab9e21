"""PNG and JPEG pictures in a column of bytes. Nothing else is opened, and nothing large is decoded."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

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


def read_headers(column: pa.ChunkedArray) -> Headers:
    """Opens every picture of a column of bytes without decoding it: some 20 microseconds each."""
    shapes = np.zeros((len(column), 3), dtype=np.int32)
    null = np.zeros(len(column), dtype=np.bool_)
    reasons: Counter[str] = Counter()
    for row, data in enumerate(_cells(column)):
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
    column: pa.ChunkedArray, wanted: NDArray[np.bool_], shape: tuple[int, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], tuple[str, ...]]:
    """Pictures as arrays, scaled where they are of another size than ``shape``.

    Scaling is Pillow's bilinear filter, which averages over all pixels that a smaller one covers. An EXIF orientation
    is not followed: the pixels are taken as they are stored.

    Args:
        column: bytes of N pictures.
        wanted: bool [N], the rows to decode.
        shape: height, width and channels.

    Returns:
        uint8 [N, H, W, C], zeros where there is no picture; bool [N], the wanted rows that are broken; why.
    """
    height, width, channels = shape
    images = np.zeros((len(column), height, width, channels), dtype=np.uint8)
    broken = np.zeros(len(column), dtype=np.bool_)
    reasons: Counter[str] = Counter()
    for row, data in enumerate(_cells(column)):
        if data is None or not wanted[row]:
            continue
        try:
            images[row] = _decoded(data, height, width).reshape(shape)
        except ValueError as error:
            broken[row] = True
            reasons[str(error)] += 1
    return images, broken, tuple(reason for reason, _ in reasons.most_common(3))


def cells(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """Object [N] of bytes, empty where null: the pictures as they are stored."""
    found = np.empty(len(column), dtype=object)
    found[:] = [data or b"" for data in _cells(column)]
    return found


def _cells(column: pa.ChunkedArray) -> list[bytes | None]:
    values: list[bytes | None] = column.cast(plain(column.type)).to_pylist()
    return values


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

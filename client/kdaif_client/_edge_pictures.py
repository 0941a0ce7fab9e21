"""PNG and JPEG pictures as the pixels that a student learned from: the same formats, colours and scaling."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from kdaif_client.errors import InvalidArgument, MissingDependency, NotFound, ServerError

# As the server takes them for training.
_MOST_PIXELS_A_SIDE = 4096
_FILTERS = {"bilinear": "BILINEAR"}


def encoded_pictures(X: Any) -> Sequence[Any] | None:
    """The pictures, where ``X`` is a list or an array of bytes or paths; None where it is something else."""
    if hasattr(X, "dtype"):
        if X.dtype.kind not in "OSU" or getattr(X, "ndim", 1) != 1:
            return None
        X = list(X)
    if isinstance(X, list | tuple) and X and all(isinstance(each, bytes | str | os.PathLike) for each in X):
        return X
    return None


def decoded(pictures: Sequence[Any], shape: tuple[int, ...], told: Mapping[str, Any]) -> Any:
    """uint8 [N, H, W, C].

    Args:
        pictures: bytes of files, or their paths.
        shape: height, width and channels.
        told: ``pictures`` of the manifest's input: formats, mode, and the filter of the scaling or None.

    Raises:
        InvalidArgument: something that the server would not have trained on; names the row.
        NotFound: there is no such file.
        MissingDependency: Pillow is not installed.
        ServerError: the manifest names a scaling that this client does not know.
    """
    import numpy as np

    image = _pillow()
    if told["resize"] not in (None, *_FILTERS):
        raise ServerError(f"This client does not scale pictures by {told['resize']!r}: pip install -U kdaif-client")
    rows = np.zeros((len(pictures), *shape), dtype=np.uint8)
    for row, given in enumerate(pictures):
        data = given if isinstance(given, bytes) else _file(Path(given))
        try:
            rows[row] = np.asarray(_picture(image, data, shape, told)).reshape(shape)
        except ValueError as error:
            raise InvalidArgument.of("X", f"holds no usable picture in row {row}: it is {error}") from None
    return rows


def _picture(image: Any, data: bytes, shape: tuple[int, ...], told: Mapping[str, Any]) -> Any:
    """One picture. Raises ValueError with what is wrong about it."""
    height, width, mode = shape[0], shape[1], told["mode"]
    try:
        picture = image.open(io.BytesIO(data), formats=told["formats"])
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them stumble over
        raise ValueError(f"damaged, or none of {', '.join(told['formats'])}") from error
    with picture:
        if max(picture.size) > _MOST_PIXELS_A_SIDE:
            raise ValueError(f"more than {_MOST_PIXELS_A_SIDE} pixels high or wide")
        if picture.mode != mode and (picture.mode, mode) != ("RGBA", "RGB"):
            raise ValueError(f"of mode {picture.mode}, and the student learned from {mode}; save it so")
        try:
            picture.load()
        except Exception as error:  # as above
            raise ValueError("damaged, or cut short") from error
        found = picture
        if picture.mode == "RGBA":
            if picture.getchannel("A").getextrema() != (255, 255):
                raise ValueError("see-through in places; put it on a background and save it as RGB")
            found = picture.convert("RGB")
        if found.size == (width, height):
            return found.copy()
        if told["resize"] is None:
            raise ValueError(
                f"{found.height} x {found.width}, and the student learned from pictures of {height} x {width} alone; "
                "scale it as those were, or distil again with inputs.image_height and inputs.image_width"
            )
        return found.resize((width, height), getattr(image.Resampling, _FILTERS[told["resize"]]))


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(f"There is no picture {path}: {error.strerror}.") from None


def _pillow() -> Any:
    try:
        return import_module("PIL.Image")
    except ImportError as error:
        raise MissingDependency(
            "Pillow is not installed here, and PNG and JPEG pictures need it (arrays of pixels do not). Install it "
            "with: pip install 'kdaif-client[edge,pictures]'"
        ) from error

"""Sample images as PNG inside the page."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 160  # pixels of the longer side, about


def data_uri(image: NDArray[np.uint8]) -> str:
    """A ``data:image/png`` address of the image, small ones scaled up with hard pixel edges, large ones down.

    Args:
        image: uint8 ``[H, W]`` or ``[H, W, C]``; of other channel counts than 1, 3 and 4 the first channel is shown.
    """
    if image.ndim == 3 and image.shape[2] not in (3, 4):
        image = image[:, :, 0]
    picture = Image.fromarray(np.ascontiguousarray(image))
    longer = max(picture.size)
    if longer > 2 * _SIDE:
        picture.thumbnail((2 * _SIDE, 2 * _SIDE))
    else:
        factor = max(1, round(_SIDE / longer))
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    stream = BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")

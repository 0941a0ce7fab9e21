"""Max-pooling by slices has the values of torch's."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from kdaif.linalg.pooling import FastPooling


class Counted(TorchFunctionMode):
    """How often torch's own pooling is called."""

    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        Counted.calls += func in (functional.max_pool2d, torch.max_pool2d)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("options", "fast"),
    [
        ({"kernel_size": 2}, True),
        ({"kernel_size": (2, 3), "stride": (2, 3)}, True),
        ({"kernel_size": 3, "stride": 2, "padding": 1}, False),
        ({"kernel_size": 2, "stride": 1}, False),
        ({"kernel_size": 2, "dilation": 2}, False),
        ({"kernel_size": 2, "ceil_mode": True}, False),
    ],
)
@pytest.mark.parametrize("size", [(8, 12), (7, 11)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_are_those_of_torch(
    options: dict[str, Any], fast: bool, size: tuple[int, int], layout: torch.memory_format
) -> None:
    rows = torch.randn(3, 4, *size, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    rows[0, 0, 0, 0] = torch.nan
    for pool in (nn.MaxPool2d(**options), lambda given: functional.max_pool2d(given, **options)):
        expected = pool(rows)
        with FastPooling():
            found = pool(rows)
        assert torch.equal(found.nan_to_num(nan=9.0), expected.nan_to_num(nan=9.0))
    Counted.calls = 0
    with Counted(), FastPooling():
        functional.max_pool2d(rows, **options)
    assert (Counted.calls == 0) is fast


def test_places_of_the_maxima_are_still_to_be_had() -> None:
    rows = torch.randn(2, 3, 4, 4)
    with FastPooling():
        values, places = functional.max_pool2d(rows, 2, return_indices=True)
    assert values.shape == places.shape == (2, 3, 2, 2)

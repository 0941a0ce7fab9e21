"""A moving average of a student's weights beside the student that is trained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kdaif.sharding import own_parts


def moving_average(student: nn.Module, decay: float, *, twin: nn.Module | None = None) -> AveragedModel:
    """A copy of the student; `update_parameters` moves it, a <- decay a + (1 - decay) theta, the first time a <- theta.

    BatchNorm's running statistics are averaged too, so that they are those of the averaged weights. The average looks
    back on about 1 / (1 - decay) steps: an arm of fewer steps mostly averages its beginning (Polyak and Juditsky 1992;
    Tarvainen and Valpola 2017).

    Args:
        student: whose weights are averaged.
        decay: of the average.
        twin: another of the same shape, to be used as the copy; needed of a student that is cut, which torch does not
            copy.
    """
    move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def moved(averages: Sequence[Tensor], now: Sequence[Tensor], count: Tensor | int) -> None:
        move(own_parts(averages), own_parts(now), count)

    average = AveragedModel(student if twin is None else nn.Module(), multi_avg_fn=moved, use_buffers=True)
    if twin is not None:
        average.module = twin
    return average

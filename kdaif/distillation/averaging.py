"""A moving average of a student's weights beside the student that is trained."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def moving_average(student: nn.Module, decay: float) -> AveragedModel:
    """A copy of the student; `update_parameters` moves it, a <- decay a + (1 - decay) theta, the first time a <- theta.

    BatchNorm's running statistics are averaged too, so that they are those of the averaged weights. The average looks
    back on about 1 / (1 - decay) steps: an arm of fewer steps mostly averages its beginning (Polyak and Juditsky 1992;
    Tarvainen and Valpola 2017).
    """
    return AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]

"""Bodies over pictures, float `[N, C, H, W]`. Every size of picture will do."""

from __future__ import annotations

from torch import Tensor, nn

from kdaif.records import Cnn, Mobilenet, Resnet
from kdaif.students.dense import hidden_layers

# Pictures still larger than this after the last block are averaged down, so that the hidden layer stays small.
_LARGEST_GRID = 8


def cnn_body(architecture: Cnn, shape: tuple[int, ...]) -> tuple[nn.Sequential, int]:
    """Body and number of features for pictures of `(H, W, C)`."""
    height, width, channels = shape
    layers: list[nn.Module] = []
    for out_channels in architecture.channels:
        layers += [
            nn.Conv2d(channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        ]
        channels = out_channels
        if max(height, width) > 1:
            kernel = (min(height, 2), min(width, 2))
            layers.append(nn.MaxPool2d(kernel))
            height, width = height // kernel[0], width // kernel[1]
    while max(height, width) > _LARGEST_GRID:
        kernel = (min(height, 2), min(width, 2))
        layers.append(nn.AvgPool2d(kernel))
        height, width = height // kernel[0], width // kernel[1]
    layers.append(nn.Flatten())
    hidden, n_features = hidden_layers(channels * height * width, (architecture.hidden_size,), architecture.dropout)
    return nn.Sequential(*layers, *hidden), n_features


def resnet_body(architecture: Resnet, in_channels: int) -> tuple[nn.Sequential, int]:
    """A 3 x 3 convolution, the stages, and the mean over the picture (He et al. 2016, section 4.2).

    Where a block halves the picture or changes the channels, its shortcut is a 1 x 1 convolution (their option B).
    """
    channels = architecture.channels[0]
    layers = _normalised_conv(in_channels, channels, kernel_size=3)
    layers.append(nn.ReLU())
    for stage, out_channels in enumerate(architecture.channels):
        for block in range(architecture.blocks_per_stage):
            layers.append(_Residual(channels, out_channels, stride=2 if stage > 0 and block == 0 else 1))
            channels = out_channels
    return nn.Sequential(*layers, *_pooled(architecture.dropout)), channels


def mobilenet_body(architecture: Mobilenet, in_channels: int) -> tuple[nn.Sequential, int]:
    """A 3 x 3 convolution, an inverted residual for each further entry of `channels`, a 1 x 1 convolution, the mean.

    An inverted residual halves the picture where the channels change, and adds its input where they do not. The last
    convolution widens as every block does, so that the head does not see a bottleneck (Sandler et al. 2018, table 2).
    """
    channels = architecture.channels[0]
    layers = _normalised_conv(in_channels, channels, kernel_size=3)
    layers.append(nn.ReLU6())
    for out_channels in architecture.channels[1:]:
        layers.append(_InvertedResidual(channels, out_channels, architecture.expansion))
        channels = out_channels
    n_features = channels * architecture.expansion
    layers += [*_normalised_conv(channels, n_features), nn.ReLU6(), *_pooled(architecture.dropout)]
    return nn.Sequential(*layers), n_features


class _Residual(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_normalised_conv(in_channels, out_channels, kernel_size=3, stride=stride),
            nn.ReLU(),
            *_normalised_conv(out_channels, out_channels, kernel_size=3),
        )
        same = stride == 1 and in_channels == out_channels
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*_normalised_conv(in_channels, out_channels, stride=stride))
        )
        self.activation = nn.ReLU()

    def forward(self, pictures: Tensor) -> Tensor:
        total: Tensor = self.activation(self.branch(pictures) + self.shortcut(pictures))
        return total


class _InvertedResidual(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, expansion: int) -> None:
        super().__init__()
        wide, self.adds = in_channels * expansion, in_channels == out_channels
        stride = 1 if self.adds else 2
        self.branch = nn.Sequential(
            *_normalised_conv(in_channels, wide),
            nn.ReLU6(),
            *_normalised_conv(wide, wide, kernel_size=3, stride=stride, groups=wide),
            nn.ReLU6(),
            *_normalised_conv(wide, out_channels),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.branch(pictures)
        return pictures + found if self.adds else found


class _MeanOverPicture(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.mean(dim=(2, 3))


def _normalised_conv(
    in_channels: int, out_channels: int, *, kernel_size: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    padding = kernel_size // 2
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out_channels)]


def _pooled(dropout: float) -> list[nn.Module]:
    return [_MeanOverPicture(), *([nn.Dropout(dropout)] if dropout > 0 else [])]

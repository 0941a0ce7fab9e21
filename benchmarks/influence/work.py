"""The work that every method gets: rows with some labels wrong, and two trained networks. No kdaif in here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Net: TypeAlias = Literal["mlp", "cnn"]

DAMPING: dict[Net, float] = {"mlp": 1e-3, "cnn": 1e-2}
_TRAINED, _VALIDATION, _FLIPPED, EPOCHS = 3_000, 500, 0.15, 12


@dataclass(frozen=True, eq=False)
class Work:
    """Influence of each training row on the mean validation cross-entropy is wanted.

    Attributes:
        model: trained on the mean cross-entropy of the training rows, in eval mode.
        features: float32 `[N, 784]`, or `[N, 1, 28, 28]` for the convolutional net.
        labels: int64 `[N]`, some of them wrong.
        flipped: which, bool `[N]`.
        validation_features: of V.
        validation_labels: int64 `[M]`, all as they came.
        damping: d of (G + d I)^-1, G the mean Gauss-Newton matrix of the training rows.
    """

    model: nn.Sequential
    features: Tensor
    labels: Tensor
    flipped: NDArray[np.bool_]
    validation_features: Tensor
    validation_labels: Tensor
    damping: float


def network(net: Net, width: int = 128) -> nn.Sequential:
    """784-128-64-10, or two convolutions and two linear layers; 1e5 and 5e4 parameters."""
    if net == "mlp":
        return nn.Sequential(
            nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 10)
        )
    convolutions = (nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    more = (nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*convolutions, *more, nn.Flatten(), nn.Linear(16 * 49, 64), nn.ReLU(), nn.Linear(64, 10))


def make_work(folder: Path) -> None:
    """Cuts the rows, flips 15 % of the training labels, trains both networks, and writes it all to files.

    The variable ``KDAIF_DATA`` names the folder with Fashion-MNIST.
    """
    with np.load(Path(os.environ["KDAIF_DATA"]) / "fashion_mnist_5k" / "fashion_mnist_5k.npz") as arrays:
        images = np.concatenate([arrays["x_train"], arrays["x_test"]]).astype(np.float32) / 255
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int64)
    generator = np.random.default_rng(0)
    order = generator.permutation(len(labels))
    trained, held_out = order[:_TRAINED], order[_TRAINED : _TRAINED + _VALIDATION]
    flipped = np.zeros(_TRAINED, dtype=bool)
    flipped[generator.choice(_TRAINED, int(_FLIPPED * _TRAINED), replace=False)] = True
    given = np.where(flipped, (labels[trained] + generator.integers(1, 10, _TRAINED)) % 10, labels[trained])
    np.savez(
        folder / "rows.npz",
        features=images[trained].reshape(_TRAINED, 784),
        labels=given,
        flipped=flipped,
        validation_features=images[held_out].reshape(_VALIDATION, 784),
        validation_labels=labels[held_out],
    )
    for net in DAMPING:
        torch.manual_seed(0)
        model = network(net)
        features = torch.from_numpy(images[trained])
        train(model, shaped(net, features), torch.from_numpy(given), EPOCHS)
        torch.save(model.state_dict(), folder / f"{net}.pt")


def train(model: nn.Module, features: Tensor, labels: Tensor, epochs: int) -> None:
    """Adam on the mean cross-entropy, in batches of 64.

    Args:
        model: from its initial parameters.
        features: `[N, ...]`.
        labels: int64 `[N]`.
        epochs: how many.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(labels), generator=generator), 64):
            optimizer.zero_grad()
            functional.cross_entropy(model(features[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def load_work(folder: Path, net: Net) -> Work:
    """As `make_work` left it, the network in eval mode."""
    model = network(net)
    model.load_state_dict(torch.load(folder / f"{net}.pt", weights_only=True))
    with np.load(folder / "rows.npz") as arrays:
        rows = {name: arrays[name] for name in arrays.files}
    return Work(
        model=model.eval(),
        features=shaped(net, torch.from_numpy(rows["features"])),
        labels=torch.from_numpy(rows["labels"]),
        flipped=rows["flipped"],
        validation_features=shaped(net, torch.from_numpy(rows["validation_features"])),
        validation_labels=torch.from_numpy(rows["validation_labels"]),
        damping=DAMPING[net],
    )


def shaped(net: Net, features: Tensor) -> Tensor:
    """Rows of pixels as the network takes them."""
    return features.reshape(-1, 1, 28, 28) if net == "cnn" else features.reshape(-1, 784)

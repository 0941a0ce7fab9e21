"""The student: raw features in, logits out, with the standardisation inside so that serving cannot forget it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from kdaif.datasets import InputSignature


class Student(nn.Module):
    """Standardisation, a body and a linear head, and in training perhaps a second head for soft targets.

    Attributes:
        signature: kind and shape of one raw input row.
        mean: `[D]` for numeric rows, `[C, 1, 1]` for images (of pixels scaled to 0..1), `[0]` for text.
        scale: same shape; the standard deviation, 1 where a column or channel is constant.
        soft_head: learns the soft targets, so that `head`, which predicts, need not; None where `head` learns both.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, signature: InputSignature, mean: Tensor, scale: Tensor, body: nn.Sequential, head: nn.Linear
    ) -> None:
        super().__init__()
        self.signature = signature
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.body = body
        self.head = head
        self.soft_head: nn.Linear | None
        self.register_module("soft_head", None)

    def add_soft_head(self) -> None:
        """A second head. It starts as a copy of the first, so that what a student knows already is known to both."""
        self.soft_head = copy.deepcopy(self.head)

    def standardise(self, raw: Tensor) -> Tensor:
        """Raw rows to zero mean and unit spread: float `[N, D]`, or uint8 `[N, H, W, C]` to float `[N, C, H, W]`.

        Nulls stay NaN, and codes of categories as they are. Word pieces have no mean: int32 `[N, T]` to int64.
        """
        if self.signature.kind == "text":
            return raw.to(torch.int64)
        values = raw.to(self.mean.dtype)
        if self.signature.kind == "image":
            values = values.permute(0, 3, 1, 2) / 255.0
        return (values - self.mean) / self.scale

    def features(self, raw: Tensor) -> Tensor:
        """What the linear head sees, float `[N, F]`."""
        features: Tensor = self.body(self.standardise(raw))
        return features

    def forward(self, raw: Tensor) -> Tensor:
        """Logits, float32 `[N, K]` (float64 when the module was cast to double)."""
        logits: Tensor = self.head(self.features(raw))
        return logits


class BothHeads(nn.Module):
    """A student's two heads side by side, `[N, 2 K]`, the one that predicts first; its parameters are the student's."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, raw: Tensor) -> Tensor:
        """Logits of both heads from one pass of the body."""
        student = self.student
        if student.soft_head is None:
            raise AssertionError("the student has one head")
        features = student.features(raw)
        return torch.cat([student.head(features), student.soft_head(features)], dim=1)


def taught_network(student: Student) -> nn.Module:
    """What is trained and scored: the student, or both its heads side by side where it has two."""
    return student if student.soft_head is None else BothHeads(student)

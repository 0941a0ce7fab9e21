"""The first step of a student over a table: categories embedded, nulls told apart from the mean."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdaif.datasets import InputSignature

_WIDEST_EMBEDDING = 50


def embedding_width(n_categories: int) -> int:
    """Half the codes, unknown among them, rounded up, and 50 at most.

    The rule of thumb of fast.ai's tabular models, for entity embeddings as Guo and Berkhahn (2016) have them.
    """
    return min(_WIDEST_EMBEDDING, (n_categories + 2) // 2)


def has_special_columns(signature: InputSignature) -> bool:
    """Whether any column holds categories or nulls, so that the values as they are will not do."""
    return signature.kind == "numeric" and (any(signature.categories) or any(signature.nullable))


def number_columns(signature: InputSignature) -> tuple[int, ...]:
    """Places of the columns that hold numbers rather than codes."""
    categories = signature.categories or ((),) * signature.shape[0]
    return tuple(place for place, names in enumerate(categories) if not names)


class ColumnInputs(nn.Module):
    """From standardised rows `[N, D]` to what the first layer sees, `[N, width]`.

    That is the numbers, 0 (the mean) where null; a 1 or 0 for each nullable column of numbers, whether it is null; and
    the embedding of each code. A code that is none of the column's counts as 0, an unknown value.
    """

    def __init__(self, signature: InputSignature) -> None:
        super().__init__()
        categories = signature.categories or ((),) * signature.shape[0]
        nullable = signature.nullable or (False,) * signature.shape[0]
        self.numbers = list(number_columns(signature))
        self.nullable_numbers = [place for place in self.numbers if nullable[place]]
        self.codes = [(place, len(names)) for place, names in enumerate(categories) if names]
        self.embeddings = nn.ModuleList(
            nn.Embedding(n_categories + 1, embedding_width(n_categories)) for _, n_categories in self.codes
        )
        embedded = sum(embedding_width(n_categories) for _, n_categories in self.codes)
        self.width = len(self.numbers) + len(self.nullable_numbers) + embedded

    def forward(self, values: Tensor) -> Tensor:
        """As the class says."""
        parts = []
        if self.numbers:
            parts.append(_filled(_columns(values, self.numbers)))
        if self.nullable_numbers:
            parts.append(torch.isnan(_columns(values, self.nullable_numbers)).to(values.dtype))
        for (place, n_categories), embedding in zip(self.codes, self.embeddings, strict=True):
            code = values[:, place]
            known = (code >= 0) & (code <= n_categories)
            parts.append(embedding(torch.where(known, code, torch.zeros_like(code)).to(torch.int64)))
        return torch.cat(parts, dim=1)


def _columns(values: Tensor, places: Sequence[int]) -> Tensor:
    return values[:, list(places)]


def _filled(numbers: Tensor) -> Tensor:
    return torch.where(torch.isnan(numbers), torch.zeros_like(numbers), numbers)

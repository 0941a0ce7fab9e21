"""Bodies over word pieces, int64 `[N, T]`, 0 is padding. A row of nothing but padding has features all the same."""

from __future__ import annotations

import json
import math

import torch
from torch import Tensor, nn

from kdaif.records import Bag, TextEncoder
from kdaif.students.dense import hidden_layers

# Two primes, so that neighbouring pieces spread over the buckets; a product with an id of 20 bits stays within int64.
_FIRST_PRIME = 1_000_003
_SECOND_PRIME = 998_244_353
# A score that softmax makes 0 in float32 and bfloat16 alike, and whose row stays finite where every score is this one.
_LEFT_OUT = -1e9
_EMBEDDING_SPREAD = 0.02  # as in BERT (Devlin et al. 2019)


def vocabulary_size(tokenizer: str) -> int:
    """One more than the largest id that a tokenizer gives, read from its JSON.

    Args:
        tokenizer: JSON of a `tokenizers.Tokenizer`.
    """
    parsed = json.loads(tokenizer)
    vocabulary = parsed["model"]["vocab"]
    # A Unigram model lists its pieces, and each one's id is its place; the others map pieces to ids.
    ids = list(range(len(vocabulary))) if isinstance(vocabulary, list) else list(vocabulary.values())
    ids += [token["id"] for token in parsed.get("added_tokens") or []]
    return 1 + max(ids, default=0)


def bag_body(architecture: Bag, n_pieces: int) -> tuple[nn.Sequential, int]:
    """Body and number of features; `n_pieces` is the size of the vocabulary."""
    layers: list[nn.Module] = [_MeanEmbedding(n_pieces, architecture.pair_buckets, architecture.embedding_size)]
    if architecture.dropout > 0:
        layers.append(nn.Dropout(architecture.dropout))
    hidden, width = hidden_layers(architecture.embedding_size, architecture.hidden_sizes, architecture.dropout)
    return nn.Sequential(*layers, *hidden), width


def text_encoder_body(architecture: TextEncoder, n_pieces: int, max_tokens: int) -> tuple[nn.Sequential, int]:
    """Body and number of features; `n_pieces` is the size of the vocabulary, `max_tokens` the length of a row."""
    return nn.Sequential(_Encoder(architecture, n_pieces, max_tokens)), architecture.width


class _MeanEmbedding(nn.Module):
    """The mean of the embeddings of a row's pieces and of its pairs of neighbours (Joulin et al. 2017).

    A pair's bucket is (a p1 + b p2) mod the number of buckets, in int64 in the graph, so that every runtime finds the
    same one. Lookup and mean are two steps, since an EmbeddingBag does not export to every runtime.
    """

    def __init__(self, n_pieces: int, pair_buckets: int, width: int) -> None:
        super().__init__()
        self.pair_buckets = pair_buckets
        self.pieces = nn.Embedding(n_pieces, width)
        self.pairs = nn.Embedding(pair_buckets, width) if pair_buckets else None
        for embedding in (self.pieces, self.pairs):
            if embedding is not None:
                # Small, as fastText has it: pieces that training never meets then hardly move the mean.
                nn.init.uniform_(embedding.weight, -1 / width, 1 / width)

    def forward(self, ids: Tensor) -> Tensor:
        present = ids != 0
        total, count = _masked_sum(self.pieces(ids), present)
        if self.pairs is not None and ids.shape[1] > 1:
            buckets = (ids[:, :-1] * _FIRST_PRIME + ids[:, 1:] * _SECOND_PRIME) % self.pair_buckets
            of_pairs, n_pairs = _masked_sum(self.pairs(buckets), present[:, :-1] & present[:, 1:])
            total, count = total + of_pairs, count + n_pairs
        return total / count.clamp_min(1.0)


class _Encoder(nn.Module):
    def __init__(self, architecture: TextEncoder, n_pieces: int, max_tokens: int) -> None:
        super().__init__()
        width = architecture.width
        self.pieces = nn.Embedding(n_pieces, width)
        self.places = nn.Parameter(torch.empty(max_tokens, width))
        nn.init.normal_(self.pieces.weight, std=_EMBEDDING_SPREAD)
        nn.init.normal_(self.places, std=_EMBEDDING_SPREAD)
        self.dropout = nn.Dropout(architecture.dropout)
        self.blocks = nn.ModuleList(
            _Block(width, architecture.heads, architecture.dropout) for _ in range(architecture.depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        present = ids != 0
        states: Tensor = self.dropout(self.pieces(ids) + self.places)
        for block in self.blocks:
            states = block(states, present)
        total, count = _masked_sum(self.norm(states), present)
        return total / count.clamp_min(1.0)


class _Block(nn.Module):
    """Attention and a two-layer network, each on normalised states and added to them (Xiong et al. 2020, figure 1b)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries, self.keys, self.values = (nn.Linear(width, width) for _ in range(3))
        self.mixed = nn.Linear(width, width)
        self.hidden = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        states = states + self.dropout(self._attend(self.attention_norm(states), present))
        changed: Tensor = states + self.dropout(self.hidden(self.hidden_norm(states)))
        return changed

    def _attend(self, states: Tensor, present: Tensor) -> Tensor:
        queries, keys, values = (
            projection(states).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection in (self.queries, self.keys, self.values)
        )
        scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3])
        shares = torch.softmax(scores.masked_fill(~present[:, None, None, :], _LEFT_OUT), dim=3)
        attended: Tensor = self.mixed((shares @ values).transpose(1, 2).flatten(2))
        return attended


def _masked_sum(vectors: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Sum `[N, W]` of the vectors `[N, T, W]` where `present` `[N, T]`, and how many these are, `[N, 1]`."""
    kept = present[:, :, None].to(vectors.dtype)
    return (vectors * kept).sum(dim=1), kept.sum(dim=1)

"""The networks that a student may be that was left to us, and what is usual for the data."""

from __future__ import annotations

from kdaif.records.architectures import (
    Architecture,
    Auto,
    Bag,
    Cnn,
    InputKind,
    Mlp,
    Mobilenet,
    Network,
    Resnet,
    TextEncoder,
)

# From small to large, a factor of two or so apart. For text all cost is in the embeddings until the encoder's depth is.
_LADDERS: dict[str, tuple[Network, ...]] = {
    "numeric": (
        Mlp(hidden_sizes=(8,)),
        Mlp(hidden_sizes=(16,)),
        Mlp(hidden_sizes=(32,)),
        Mlp(hidden_sizes=(64,)),
        Mlp(hidden_sizes=(64, 32)),
        Mlp(hidden_sizes=(128, 64)),
        Mlp(hidden_sizes=(256, 128)),
        Mlp(hidden_sizes=(512, 256)),
    ),
    "image": (
        Cnn(channels=(4, 8), hidden_size=8),
        Cnn(channels=(8, 16), hidden_size=32),
        Cnn(),
        Mobilenet(),
        Cnn(channels=(16, 32, 64), hidden_size=128),
        Resnet(),
        Resnet(blocks_per_stage=3),
        Resnet(channels=(32, 64, 128), blocks_per_stage=2),
    ),
    "text": (
        Bag(embedding_size=4, pair_buckets=0),
        Bag(embedding_size=8, pair_buckets=0),
        Bag(embedding_size=16, pair_buckets=0),
        Bag(embedding_size=32),
        Bag(),
        TextEncoder(),
        Bag(embedding_size=128, hidden_sizes=(256,)),
        TextEncoder(width=128, depth=4),
    ),
}


def usual_network(architecture: Architecture, kind: InputKind) -> Network:
    """The architecture itself; for `Auto` the small one that is usual for the data, whatever its budget."""
    if not isinstance(architecture, Auto):
        return architecture
    match kind:
        case "image":
            return Cnn()
        case "text":
            return Bag()
        case "numeric":
            return Mlp()


def ladder(kind: InputKind) -> tuple[Network, ...]:
    """The networks that `Auto` chooses from where it has a budget, roughly from small to large."""
    return _LADDERS[kind]

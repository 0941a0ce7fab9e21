"""The network that a job gets when it does not name one."""

from __future__ import annotations

from kdaif.datasets import InputSignature
from kdaif.records import Architecture, Auto, Bag, Cnn, Mlp, Network


def network_of(architecture: Architecture, signature: InputSignature) -> Network:
    """The architecture itself; for `Auto` the small one that is usual for the data."""
    if not isinstance(architecture, Auto):
        return architecture
    match signature.kind:
        case "image":
            return Cnn()
        case "text":
            return Bag()
        case "numeric":
            return Mlp()

"""The network that a job gets when it does not name one."""

from __future__ import annotations

from kdaif.datasets import InputSignature
from kdaif.records import Architecture, Network, ladder, usual_network

__all__ = ["ladder", "network_of"]


def network_of(architecture: Architecture, signature: InputSignature) -> Network:
    """The architecture itself; for `Auto` the small one that is usual for the data, whatever its budget."""
    return usual_network(architecture, signature.kind)

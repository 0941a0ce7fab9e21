"""From influence and agreement to weights: explainable log-odds, and a gate. numpy only."""

from kdaif.weighting.gate import Gate, trust_region
from kdaif.weighting.log_odds import agreement_z, combine, influence_share, influence_z, smooth
from kdaif.weighting.weights import effective_sample_size, kept_share, loss_weights, normalise

__all__ = [
    "Gate",
    "agreement_z",
    "combine",
    "effective_sample_size",
    "influence_share",
    "influence_z",
    "kept_share",
    "loss_weights",
    "normalise",
    "smooth",
    "trust_region",
]

"""From influence and agreement to weights that can be explained. numpy only."""

from kdaif.weighting.floors import with_floors
from kdaif.weighting.log_odds import agreement_z, influence_z
from kdaif.weighting.weights import (
    Parts,
    effective_sample_size,
    log_odds_of,
    loss_weights,
    normalise,
    parts_of,
    shares_of_weight,
    with_overrides,
)

__all__ = [
    "Parts",
    "agreement_z",
    "effective_sample_size",
    "influence_z",
    "log_odds_of",
    "loss_weights",
    "normalise",
    "parts_of",
    "shares_of_weight",
    "with_floors",
    "with_overrides",
]

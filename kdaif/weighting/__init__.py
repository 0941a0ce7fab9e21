"""From influence and agreement to weights that can be explained. numpy and scipy only."""

from kdaif.weighting.floors import with_floors
from kdaif.weighting.log_odds import agreement_z, influence_z
from kdaif.weighting.teacher_trust import least_sureness, log_likelihood_ratio, sureness_of, trust_slope
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
    "least_sureness",
    "log_likelihood_ratio",
    "log_odds_of",
    "loss_weights",
    "normalise",
    "parts_of",
    "shares_of_weight",
    "sureness_of",
    "trust_slope",
    "with_floors",
    "with_overrides",
]

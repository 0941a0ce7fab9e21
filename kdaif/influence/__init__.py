"""How a row's weight moves the loss on held-out labels. Negative helps, positive harms."""

from kdaif.influence.curvature import Curvature, curvature_at
from kdaif.influence.normalised import per_unit_of_weight
from kdaif.influence.predicted_change import predicted_change
from kdaif.influence.reliability import rank_correlation
from kdaif.influence.scores import InfluenceScores, influence_scores

__all__ = [
    "Curvature",
    "InfluenceScores",
    "curvature_at",
    "influence_scores",
    "per_unit_of_weight",
    "predicted_change",
    "rank_correlation",
]

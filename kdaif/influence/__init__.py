"""How a row's weight moves the loss on held-out labels. Negative helps, positive harms."""

from kdaif.influence.along import Along, Elsewhere
from kdaif.influence.blocks import InfluenceScores, ScoreSheet, block_stderr, pooled_scores
from kdaif.influence.curvature import Curvature, curvature_at
from kdaif.influence.neighbours import Nearest, NearestSearch
from kdaif.influence.normalised import UnitOfWeight, per_unit_of_weight, unit_of_weight
from kdaif.influence.pairs import PairInfluence, PairSystem, pair_system
from kdaif.influence.reliability import MOST_RANKED_ROWS, rank_correlation, ranked_rows
from kdaif.influence.row_gradients import RowLoss, logit_gradients
from kdaif.influence.scores import influence_scores

__all__ = [
    "MOST_RANKED_ROWS",
    "Along",
    "Curvature",
    "Elsewhere",
    "InfluenceScores",
    "Nearest",
    "NearestSearch",
    "PairInfluence",
    "PairSystem",
    "RowLoss",
    "ScoreSheet",
    "UnitOfWeight",
    "block_stderr",
    "curvature_at",
    "influence_scores",
    "logit_gradients",
    "pair_system",
    "per_unit_of_weight",
    "pooled_scores",
    "rank_correlation",
    "ranked_rows",
    "unit_of_weight",
]

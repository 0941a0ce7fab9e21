"""Linear algebra over a network's parameters: curvature products and linear solves, without forming a matrix."""

from kdaif.linalg.conjugate_gradient import Solution, conjugate_gradient
from kdaif.linalg.ekfac import Ekfac, EkfacBlock, ekfac
from kdaif.linalg.forward_mode import directional_derivatives, finite_differences
from kdaif.linalg.gauss_newton import gauss_newton, gauss_newton_once
from kdaif.linalg.head import HeadCurvature, HeadRows, head_curvature, head_rows
from kdaif.linalg.heads import curved, head_probabilities, predicting_and_taught
from kdaif.linalg.layers import Layer, fisher_roots, layers_of, tapped
from kdaif.linalg.parameters import linearise, logits_of, parameter_vector, pulled_back
from kdaif.linalg.runs import rows_at_once, rows_to_keep

__all__ = [
    "Ekfac",
    "EkfacBlock",
    "HeadCurvature",
    "HeadRows",
    "Layer",
    "Solution",
    "conjugate_gradient",
    "curved",
    "directional_derivatives",
    "ekfac",
    "finite_differences",
    "fisher_roots",
    "gauss_newton",
    "gauss_newton_once",
    "head_curvature",
    "head_probabilities",
    "head_rows",
    "layers_of",
    "linearise",
    "logits_of",
    "parameter_vector",
    "predicting_and_taught",
    "pulled_back",
    "rows_at_once",
    "rows_to_keep",
    "tapped",
]

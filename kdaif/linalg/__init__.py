"""Linear algebra over a network's parameters: curvature products and linear solves, without forming a matrix."""

from kdaif.linalg.conjugate_gradient import Solution, conjugate_gradient
from kdaif.linalg.forward_mode import directional_derivatives, finite_differences
from kdaif.linalg.gauss_newton import gauss_newton
from kdaif.linalg.parameters import linearise, logits_of, parameter_vector

__all__ = [
    "Solution",
    "conjugate_gradient",
    "directional_derivatives",
    "finite_differences",
    "gauss_newton",
    "linearise",
    "logits_of",
    "parameter_vector",
]

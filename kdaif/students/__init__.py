"""Students: small networks that take raw features and carry their preprocessing with them."""

from kdaif.students.auto import ladder, network_of
from kdaif.students.build import build_student
from kdaif.students.initial import load_initial_weights, read_initial_weights
from kdaif.students.standardisation import Standardisation, standardisation
from kdaif.students.student import BothHeads, Student, taught_network
from kdaif.students.texts import vocabulary_size

__all__ = [
    "BothHeads",
    "Standardisation",
    "Student",
    "build_student",
    "ladder",
    "load_initial_weights",
    "network_of",
    "read_initial_weights",
    "standardisation",
    "taught_network",
    "vocabulary_size",
]

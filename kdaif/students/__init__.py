"""Students: small networks that take raw features and carry their preprocessing with them."""

from kdaif.students.auto import ladder, network_of
from kdaif.students.build import build_student
from kdaif.students.student import Student
from kdaif.students.texts import vocabulary_size

__all__ = ["Student", "build_student", "ladder", "network_of", "vocabulary_size"]

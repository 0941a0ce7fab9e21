"""Students: small networks that take raw features and carry their preprocessing with them."""

from kdaif.students.build import build_student
from kdaif.students.student import Student

__all__ = ["Student", "build_student"]

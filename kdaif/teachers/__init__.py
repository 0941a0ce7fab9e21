"""Teachers: who labels the unlabelled rows, and the noise planted for rehearsals."""

from kdaif.teachers.soft_targets import SoftTargets, soft_targets

__all__ = ["SoftTargets", "soft_targets"]

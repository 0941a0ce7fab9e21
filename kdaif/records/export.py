"""What the bundle's files must be: variants of the student beside the fp32 one, and on which runtimes they run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from kdaif.records.base import SpecModel, require_unique

VariantName = Literal["fp32", "fp16", "int8"]

# Files have opset 18 and IR 8. This is the oldest release that was run on them; its successors read them too.
OLDEST_ONNXRUNTIME = "1.15"


class Export(SpecModel):
    """Variants of the student, and the gate that each has to pass.

    ``variants`` are those to try. "fp32" is in every bundle, so ``("fp32",)`` is no other. One that does not pass is
    left out of the bundle, and the certificate says why. ``max_kb`` and ``max_ms`` are the budget of the fp32 file of
    a network that is named in the spec; `Auto` has its own.
    """

    variants: tuple[VariantName, ...] = ("fp16", "int8")
    min_runtime: str | None = Field(default=None, pattern=r"^[0-9]{1,3}\.[0-9]{1,4}$")
    max_class_drop_points: float = Field(default=2.0, ge=0.0, le=100.0)
    min_agreement: float = Field(default=0.99, ge=0.0, le=1.0)
    min_gain: float = Field(default=0.1, ge=0.0, lt=1.0)
    max_slowdown: float = Field(default=0.25, ge=0.0, le=100.0)
    max_kb: float | None = Field(default=None, gt=0.0)
    max_ms: float | None = Field(default=None, gt=0.0)

    @field_validator("min_runtime")
    @classmethod
    def _reads_the_files(cls, wanted: str | None) -> str | None:
        if wanted is not None and release(wanted) < release(OLDEST_ONNXRUNTIME):
            raise ValueError(
                f"onnxruntime {wanted} cannot be promised: the files have opset 18 and IR 8, which releases from "
                f"{OLDEST_ONNXRUNTIME} on are known to read; give {OLDEST_ONNXRUNTIME} or newer, or leave it out"
            )
        return wanted

    @model_validator(mode="after")
    def _consistent(self) -> Export:
        if not self.variants:
            raise ValueError('variants is empty; give ("fp32",) to try none')
        require_unique(self.variants, "variants")
        return self


def release(text: str) -> tuple[int, int]:
    """Major and minor of "1.16", by which releases are older or newer."""
    major, minor = text.split(".")[:2]
    return int(major), int(minor)

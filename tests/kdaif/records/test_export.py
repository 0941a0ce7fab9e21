"""The export part of a spec."""

import pytest
from pydantic import ValidationError

from kdaif.records import OLDEST_ONNXRUNTIME, DistillationSpec, Export


def test_a_job_from_before_there_were_variants_gets_the_defaults() -> None:
    spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32)
    assert DistillationSpec.model_validate(spec.model_dump(exclude={"export"})) == spec
    assert spec.export.variants == ("fp16", "int8")


@pytest.mark.parametrize("wanted", [None, OLDEST_ONNXRUNTIME, "1.16", "1.100", "2.0"])
def test_e3_a_runtime_that_reads_the_files_may_be_asked_for(wanted: str | None) -> None:
    assert Export(min_runtime=wanted).min_runtime == wanted


@pytest.mark.parametrize("wanted", ["1.14", "1.9", "0.99"])
def test_e3_a_runtime_that_does_not_is_refused_with_what_would_do(wanted: str) -> None:
    with pytest.raises(
        ValidationError, match=rf"onnxruntime {wanted} cannot be promised: .*IR 8.* give 1\.15 or newer"
    ):
        Export(min_runtime=wanted)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_runtime": "1"},
        {"min_runtime": "1.16.3"},
        {"variants": ()},
        {"variants": ("int4",)},
        {"variants": ("int8", "int8")},
        {"min_agreement": 1.01},
        {"max_class_drop_points": -1},
        {"min_gain": 1.0},
        {"max_kb": 0},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Export.model_validate(wrong)

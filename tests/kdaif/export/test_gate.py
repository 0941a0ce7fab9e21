"""The gate of variants: figures in, words out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdaif.export.gate import BatchCheck, ClassAccuracy, Figures, faults, gains, runtime_faults
from kdaif.records import Export

FP32 = Figures(
    size_bytes=1000,
    ms_per_row=0.1,
    accuracy=0.9,
    classes={"cat": ClassAccuracy(100, 0.9), "dog": ClassAccuracy(50, 0.9), "owl": ClassAccuracy(0, None)},
    agreement=1.0,
    agreement_rows=500,
    max_abs_difference=0.0,
    largest_logit=10.0,
    features_cosine=1.0,
    batches=tuple(BatchCheck(batch, 100, 0.0, 1.0, 0.0) for batch in (1, 2, 3, 64)),
    opset=18,
    ir_version=8,
    oldest_onnxruntime="1.15",
)
SMALLER = replace(FP32, size_bytes=300, agreement=0.995)
BARS = Export()


def test_a_smaller_file_as_good_passes_and_tells_its_gain() -> None:
    assert faults(SMALLER, FP32, BARS) == []
    assert gains(SMALLER, FP32) == "3.33 times smaller than fp32 and as fast"
    assert gains(replace(SMALLER, size_bytes=2000, ms_per_row=0.2), FP32) == (
        "2.00 times larger than fp32 and 2.00 times slower"
    )


def classes(cat: float) -> dict[str, ClassAccuracy]:
    return {**FP32.classes, "cat": ClassAccuracy(100, cat)}


@pytest.mark.parametrize(("cat", "passes"), [(0.95, True), (0.88, True), (0.87, False), (0.0, False)])
def test_e5_one_class_that_loses_more_than_the_bar_is_enough(cat: float, passes: bool) -> None:
    found = faults(replace(SMALLER, classes=classes(cat)), FP32, BARS)
    assert (found == []) is passes
    if not passes:
        assert found == [
            f"of the 100 test rows of class 'cat' {cat:.1%} are right instead of 90.0%, {90 - 100 * cat:.1f} points "
            "less; max_class_drop_points allows 2"
        ]
    assert faults(replace(SMALLER, classes=classes(cat)), FP32, Export(max_class_drop_points=100)) == []


@pytest.mark.parametrize(("agreement", "passes"), [(1.0, True), (0.99, True), (0.9899, False), (0.11, False)])
def test_e5_agreement_on_real_rows_has_a_bar(agreement: float, passes: bool) -> None:
    found = faults(replace(SMALLER, agreement=agreement), FP32, BARS)
    assert (found == []) is passes
    if not passes:
        assert found == [
            f"{agreement:.2%} of 500 rows get the class that fp32 gives them; min_agreement asks for 99.00%"
        ]


@pytest.mark.parametrize(("shift", "passes"), [(0.09, True), (0.38, False)])
def test_e6_an_answer_that_depends_on_its_batch_does_not_pass(shift: float, passes: bool) -> None:
    batches = (*FP32.batches[:3], replace(FP32.batches[3], max_abs_batch_shift=shift))
    found = faults(replace(SMALLER, batches=batches), FP32, BARS)
    assert (found == []) is passes
    if not passes:
        assert found == [
            "a row's answer depends on the rows beside it in the batch: a logit moves by up to 0.38, and 0.1 is "
            "allowed (1% of the largest)"
        ]


@pytest.mark.parametrize(
    ("size_bytes", "ms", "says"),
    [
        (950, 0.1, "it is 1.05 times smaller than fp32 and as fast; min_gain asks for at least 10% less of either"),
        (1000, 0.1, "it is as large as fp32 and as fast; min_gain asks for at least 10% less of either"),
        (
            1200,
            0.8,
            "it is 1.20 times larger than fp32 and 8.00 times slower; min_gain asks for at least 10% less of either",
        ),
        (300, 0.13, "it is 3.33 times smaller than fp32 and 1.30 times slower; max_slowdown allows 25% more time"),
        (300, 0.8, "it is 3.33 times smaller than fp32 and 8.00 times slower; max_slowdown allows 25% more time"),
        (900, 0.1, ""),
        (1200, 0.05, ""),
        (300, 0.12, ""),
    ],
)
def test_e5_it_must_be_really_smaller_or_faster(size_bytes: int, ms: float, says: str) -> None:
    found = faults(replace(SMALLER, size_bytes=size_bytes, ms_per_row=ms), FP32, BARS)
    assert found == ([says] if says else [])


def test_e3_a_file_that_the_promised_runtime_cannot_read_does_not_pass() -> None:
    newer = replace(SMALLER, opset=21, ir_version=10, oldest_onnxruntime="")
    assert runtime_faults(newer, BARS) == []
    assert faults(newer, FP32, Export(min_runtime="1.16")) == [
        "the file (ONNX opset 21, IR version 10) is not known to run on any onnxruntime, and min_runtime promises 1.16"
    ]
    late = replace(SMALLER, oldest_onnxruntime="1.18")
    assert runtime_faults(late, Export(min_runtime="1.16")) == [
        "the file (ONNX opset 18, IR version 8) needs onnxruntime 1.18 or newer, and min_runtime promises 1.16"
    ]
    # 1.9 is older than 1.15, however the digits sort.
    assert runtime_faults(SMALLER, Export(min_runtime="1.20")) == []


def test_every_fault_is_told() -> None:
    bad = replace(SMALLER, agreement=0.5, classes=classes(0.5), ms_per_row=0.8)
    assert len(faults(bad, FP32, BARS)) == 3

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from kdaif.presentation.pictures import data_uri
from kdaif.records import ArmResult, Calibration, DistillationSpec, Finding, Severity, Shift
from kdaif.records.weights_table import weights_schema
from kdaif.report import ClassRow, Report, Weighed, most_harmful, weighed, write_report

ATTACK = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Tags, attributes, texts and ids of a page, and whether its tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.balanced = True
        self.headings: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self.balanced &= bool(self.open) and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        if self.open and self.open[-1] != "style":
            self.text += data


def weights_table(rows: int = 60, *, truth: bool = True, word: str = "cat") -> pa.Table:
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "id": [f"{word}-{index:03d}" for index in range(rows)],
        "round": [8] * rows,
        "weight": rng.uniform(0.05, 2.0, rows),
        "val_loss_change_if_upweighted": rng.normal(size=rows) * 1e-4,
        "stderr": np.full(rows, 2e-5),
        "pseudo_label": [word if index % 3 else "dog" for index in range(rows)],
        "teacher_confidence": np.full(rows, 0.9),
        "student_label": [word] * rows,
        "student_confidence": np.full(rows, 0.8),
        "truth": [word if truth else None] * rows,
    }
    schema = weights_schema(pa.string())
    return pa.table({field.name: pa.array(columns.get(field.name, [None] * rows)).cast(field.type) for field in schema})


def of(table: pa.Table) -> Weighed | None:
    return weighed([table], table.num_rows)


def full_report(word: str = "cat") -> Report:
    weights = weights_table(word=word)
    rng = np.random.default_rng(1)
    rounds = [
        {
            "round": number,
            "validation_loss": 1 / number,
            "validation_accuracy": 1 - 0.5 / number,
            "reliability": 0.5,
            "effective_sample_size": 54.0,
        }
        for number in range(1, 5)
    ]
    return Report(
        title=f"job {word}",
        job="tenants/t/distillationJobs/j",
        verdict="Weighting helped: 77.2 % against 74.8 % with uniform weights, +2.4 points (p = 0.012).",
        arms=(
            ArmResult("influence", 0.772, 0.77, (0.76, 0.784), 0.024, 0.012, 204.9, 0.0231, 0.0444),
            ArmResult("uniform", 0.748, 0.74, (0.74, 0.756), size_kb=204.9),
            ArmResult(word, 0.7, 0.69, (0.7,)),
        ),
        dataset={"labelled rows": 200, "teacher": word},
        spec=DistillationSpec(labeled="a" * 32, unlabeled="b" * 32).model_dump(mode="json") | {"word": word},
        findings=(
            Finding(Severity.INFO, "SPLIT", "spec.test", f"split {word}"),
            Finding(Severity.WARNING, "OVERLAP", "spec.unlabeled", "overlap", 14, (word, "b")),
        ),
        influence_rounds=rounds,
        uniform_rounds=[{key: metrics[key] for key in ("round", "validation_loss")} for metrics in rounds],
        weights=of(weights),
        images={row["id"]: rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) for row in most_harmful(weights, 5)},
        features={row["id"]: {f"{word} {index}": index / 7 for index in range(9)} for row in most_harmful(weights)[5:]},
        classes=(
            ClassRow(word, 100, 50, {"influence": 0.7, "uniform": 0.6}, (0.56, 0.81)),
            ClassRow("dog", 0, 0, {"influence": None, "uniform": None}),
        ),
        certificate={
            "passed": True,
            "parity": [
                {
                    "batch": 1,
                    "rows": 20,
                    "max_abs_difference": 2e-7,
                    "max_abs_probability_difference": 1e-8,
                    "argmax_agreement": 1.0,
                    "max_abs_features_difference": 3e-8,
                    "passed": True,
                },
            ],
            "tolerance_abs": 1e-4,
            "tolerance_rel": 1e-5,
            "rows": 20,
            "edge_rows": 2,
            "onnx_ms_per_row": 0.0231,
            "torch_ms_per_row": 0.0761,
            "size_bytes": 204888,
            "opset": 18,
            "ir_version": 8,
            "oldest_onnxruntime": "1.15",
            "versions": {"torch": "2.13.0"},
            "variants": [
                {
                    "name": "fp16",
                    "shipped": True,
                    "reason": f"1.96 times smaller than {word}",
                    "size_bytes": 104888,
                    "ms_per_row": 0.0229,
                    "accuracy": 0.913,
                    "agreement": 1.0,
                    "max_abs_difference": 1.1e-4,
                },
                {"name": "int8", "shipped": False, "reason": "it could not be made"},
            ],
        },
        seconds={"teacher": 24.7, word: 211.4},
        influence_overhead=0.17,
        external_arms=(
            ArmResult("influence", 0.713, 0.71, (0.713,), 0.011, 0.04),
            ArmResult("uniform", 0.702, 0.7, (0.702,)),
        ),
        external_verdict="On the external set: weighting helped: 71.3 % against 70.2 % with uniform weights.",
        shifts=(Shift("labelled", "external", 0.31, 0.11, 0.224, 0.05, "inputs apart; classes far apart"),),
        calibration=Calibration(1.437, 40, 0.062, 0.031),
    )


def written(folder: Path, report: Report) -> tuple[str, dict[str, Any]]:
    write_report(folder, report)
    figures: dict[str, Any] = json.loads(
        (folder / "report.json").read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name)
    )
    return (folder / "report.html").read_text(encoding="utf-8"), figures


def test_the_verdict_comes_first_and_the_sections_follow_in_order(tmp_path: Path) -> None:
    html, _ = written(tmp_path, full_report())

    page = Page(html)
    assert page.balanced
    assert page.open == []
    assert page.headings == [
        "Weighting helped",
        "Arms side by side",
        "The same on the external set",
        "What the weights did",
        "Round by round",
        "Class by class",
        "Most harmful samples",
        "How far the data sets lie apart",
        "Check of the data",
        "Certificate of the ONNX file",
        "Can its probabilities be believed",
        "How to read the sign",
        "The run",
    ]
    assert "77.2\u00a0% against 74.8\u00a0% with uniform weights, +2.4\u00a0points (p = 0.012)." in page.text
    for told in (
        "Negative helps.",
        "Positive harms.",
        "3 min 56 s",
        "1.15 or newer",
        "56.0 to 81.0\u00a0%",
        "one run",
        "71.3",
        "classes far apart",
        "22.4",
        "4.4",
        "1.437",
    ):
        assert told in page.text


def test_the_page_is_self_contained_without_scripts(tmp_path: Path) -> None:
    html, _ = written(tmp_path, full_report())

    page = Page(html)
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    policies = [attributes["content"] for tag, attributes in page.tags if tag == "meta" and "http-equiv" in attributes]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []


def test_ids_are_unique_and_every_reference_has_its_id(tmp_path: Path) -> None:
    html, _ = written(tmp_path, full_report())

    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', html)) <= set(ids)


def test_drawings_take_their_colours_from_the_page(tmp_path: Path) -> None:
    html, _ = written(tmp_path, full_report())

    drawings = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) == 6
    assert set(re.findall(r"#[0-9a-f]{6}\b", "".join(drawings))) == set()
    assert "var(--influence)" in drawings[2]
    assert all(drawing.startswith('<svg viewBox="') for drawing in drawings)


def test_everything_a_user_can_set_is_escaped(tmp_path: Path) -> None:
    html, figures = written(tmp_path, full_report(ATTACK))

    page = Page(html)
    assert page.balanced
    assert "script" not in {tag for tag, _ in page.tags}
    assert all(attributes.get("src", "data:").startswith("data:") for tag, attributes in page.tags if tag == "img")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(ATTACK) > 20
    assert figures["title"] == f"job {ATTACK}"


def test_the_verdict_is_escaped_too(tmp_path: Path) -> None:
    html, _ = written(tmp_path, replace(full_report(), verdict=f"{ATTACK}: {ATTACK}", title=ATTACK))

    assert "<script" not in html
    assert "<img src=x" not in html


def test_the_shipped_arm_is_marked_and_the_canary_check_told(tmp_path: Path) -> None:
    sentence = "The canary check failed: an AUROC of 0.30 ± 0.08, so the student of the uniform arm is shipped."
    report = replace(
        full_report(), shipped_arm="uniform", canary=sentence, canary_auroc=0.3, canary_stderr=0.08, verdict=sentence
    )
    html, figures = written(tmp_path, report)
    page = Page(html)
    assert page.balanced
    assert page.headings[0] == "The canary check failed"
    assert f"that of the arm Uniform weights. {sentence}" in page.text
    assert html.count("<span>Uniform weights</span><small>shipped</small>") == 2  # of the test and the external rows
    assert "<span>Influence weights</span></th>" in html
    assert "60.0\u00a0% of 50 test rows" in page.text  # the weakest class is the shipped student's
    assert figures["shipped_arm"] == "uniform"
    assert figures["canary"] == {"sentence": sentence, "canary_auroc": 0.3, "canary_stderr": 0.08}
    other, _ = written(tmp_path, full_report())
    assert "<span>Influence weights</span><small>shipped</small>" in other
    assert "anaries" not in other


def test_equal_reports_give_equal_bytes(tmp_path: Path) -> None:
    assert written(tmp_path, full_report()) == written(tmp_path, full_report())


def test_a_report_of_nothing_still_says_so(tmp_path: Path) -> None:
    html, figures = written(tmp_path, Report(title="t", job="j", verdict="Nothing to compare.", arms=()))

    page = Page(html)
    assert page.headings[0] == "Nothing to compare."
    for told in ("No arm was evaluated", "Nothing was weighed", "No metrics were recorded", "Nothing was found"):
        assert told in page.text
    assert figures["weights"] is None
    assert figures["most_harmful"] == []


def test_rows_of_unknown_truth(tmp_path: Path) -> None:
    html, figures = written(tmp_path, replace(full_report(), weights=of(weights_table(truth=False))))

    assert "wrong pseudo-label" not in Page(html).text
    assert (figures["weights"]["known"], figures["weights"]["auroc"]) == (0, None)


@pytest.mark.parametrize("rows", [0, 1, 2, 5000])
def test_any_number_of_rows(tmp_path: Path, rows: int) -> None:
    html, _ = written(tmp_path, replace(full_report(), weights=of(weights_table(rows)), images={}, features={}))

    assert Page(html).balanced
    assert len(html) < 600_000


def test_json_holds_the_figures_of_the_page_and_null_for_nan(tmp_path: Path) -> None:
    report = full_report()
    report = replace(
        report,
        arms=(ArmResult("influence", float("nan"), np.float32(0.5), (0.5,), p_value=float("inf")),),  # type: ignore[arg-type]
        influence_rounds=[{"round": 1, "validation_loss": float("nan")}],
        uniform_rounds=(),
    )

    html, figures = written(tmp_path, report)

    assert figures["format_version"] == 1
    assert figures["verdict"] == report.verdict
    assert figures["arms"][0]["accuracy"] is None
    assert figures["arms"][0]["p_value"] is None
    assert figures["arms"][0]["macro_f1"] == 0.5
    assert figures["rounds"] == {"influence": [{"round": 1, "validation_loss": None}], "uniform": []}
    assert [row["id"] for row in figures["most_harmful"]] == [row["id"] for row in most_harmful(weights_table())]
    assert figures["classes"][0]["interval"] == [0.56, 0.81]
    assert figures["findings"][1]["severity"] == "WARNING"
    assert figures["influence_overhead"] == 0.17
    assert [arm["arm"] for arm in figures["external"]["arms"]] == ["influence", "uniform"]
    assert figures["external"]["verdict"] == report.external_verdict
    assert figures["shifts"][0]["features"] == 0.31
    assert figures["calibration"]["ece_after"] == 0.031
    assert "nan" not in Page(html).text.lower().split()


@pytest.mark.parametrize(
    ("shape", "mode", "size"),
    [
        ((8, 8), "L", (160, 160)),
        ((8, 16, 1), "L", (160, 80)),
        ((32, 32, 3), "RGB", (160, 160)),
        ((4, 4, 4), "RGBA", (160, 160)),
        ((8, 8, 2), "L", (160, 160)),
        ((640, 320, 3), "RGB", (160, 320)),
    ],
)
def test_images_become_png_of_a_readable_size(shape: tuple[int, ...], mode: str, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    address = data_uri(image)

    picture = Image.open(BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))
    assert (picture.format, picture.mode, picture.size) == ("PNG", mode, size)


def test_small_images_keep_hard_pixel_edges() -> None:
    image = np.array([[0, 255], [255, 0]], np.uint8)

    picture = Image.open(BytesIO(base64.b64decode(data_uri(image).removeprefix("data:image/png;base64,"))))

    assert set(np.unique(np.asarray(picture))) == {0, 255}
    np.testing.assert_array_equal(np.asarray(picture)[::80, ::80], image)


@pytest.mark.parametrize(
    ("trust", "told"),
    [
        (None, None),
        (0.0, "the student was asked alone: the teacher's own confidence proved worth nothing"),
        (0.62, "is trusted at 62\u00a0%"),
    ],
)
def test_the_page_tells_how_far_the_teachers_own_confidence_is_trusted(
    tmp_path: Path, trust: float | None, told: str | None
) -> None:
    report = full_report()
    told_first = [{**report.influence_rounds[0], **({} if trust is None else {"teacher_trust": trust})}]
    write_report(tmp_path, replace(report, influence_rounds=[*told_first, *report.influence_rounds[1:]]))
    text = re.sub(r"[ \n]+", " ", Page((tmp_path / "report.html").read_text()).text)
    assert ("teacher's own confidence" in text) == (told is not None)
    assert told is None or told in text

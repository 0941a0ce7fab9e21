"""D20: an option that would do nothing is refused, not lost."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kdaif.records import ColumnTeacher
from tests.kdaif.datasets.conftest import MakeJob, pair
from tests.kdaif.datasets.test_texts import READER, sentences, sets


@pytest.mark.parametrize(("option", "value"), [("max_tokens", 12), ("vocabulary_size", 400), ("lower_case", False)])
def test_options_of_text_on_a_table(job: MakeJob, option: str, value: Any) -> None:
    found = job(pair(), inputs={option: value}).finding("OPTION_NOT_USED")
    assert (found.field, repr(value) in found.message) == (f"spec.inputs.{option}", True)


def test_options_of_tables_on_text(job: MakeJob) -> None:
    texts = sets(sentences(60), sentences(60, 60))
    assert job(texts, inputs={"max_categories": 5}, **READER).finding("OPTION_NOT_USED").field.endswith("categories")
    assert "OPTION_NOT_USED" not in job(texts, inputs={"max_tokens": 12, "lower_case": False}, **READER).codes()
    assert "OPTION_NOT_USED" not in job(pair(), inputs={"max_tokens": 64}).codes()  # the default says nothing


def test_smoothing_of_what_are_no_labels() -> None:
    with pytest.raises(ValidationError, match="label_smoothing"):
        ColumnTeacher(outputs="logits", class_names=("a", "b"), label_smoothing=0.3)
    assert ColumnTeacher(outputs="logits", class_names=("a", "b"), label_smoothing=0.1).label_smoothing == 0.1
    assert ColumnTeacher(outputs="label", label_smoothing=0.3).label_smoothing == 0.3

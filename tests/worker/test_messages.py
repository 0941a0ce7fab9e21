from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kdaif_worker.messages import (
    Assignment,
    FailedMessage,
    Message,
    ProgressMessage,
    ReviewMessage,
    SucceededMessage,
    decode,
    encode,
)
from pydantic import ValidationError

from kdaif.errors import FailureReason
from kdaif.records import ArmResult, DistillationSpec, Failure, JobResult, Progress

text = st.text(max_size=50)
finite = st.floats(allow_nan=False, allow_infinity=False)
messages = st.one_of(
    st.builds(
        ProgressMessage,
        progress=st.builds(Progress, stage=text, fraction=finite, arm=text, message=text),
        metrics=st.dictionaries(text, finite, max_size=3),
        warning=st.booleans(),
        type=st.just("progress"),
    ),
    st.builds(ReviewMessage, why=text, type=st.just("review")),
    st.builds(
        SucceededMessage,
        result=st.builds(
            JobResult,
            attempt=st.integers(1, 9),
            arms=st.lists(
                st.builds(ArmResult, arm=text, accuracy=finite, macro_f1=finite, accuracy_per_seed=st.just((0.5,))),
                max_size=2,
            ).map(tuple),
            verdict=text,
            seconds=finite,
            shipped_arm=text,
            canary=text,
            canary_auroc=st.none() | finite,
        ),
        type=st.just("succeeded"),
    ),
    st.builds(
        FailedMessage,
        failure=st.builds(Failure, reason=st.sampled_from(FailureReason), message=text, retryable=st.booleans()),
        type=st.just("failed"),
    ),
)


@given(messages)
def test_a_message_is_one_line_and_comes_back(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


@given(st.binary(max_size=80))
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ValidationError):
        decode(line)


def test_an_assignment_comes_back() -> None:
    spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32)
    assignment = Assignment("default", "j1", 2, "nightly", spec, "file:///blobs", Path("/cache"), None)
    assert Assignment.from_json(assignment.to_json()) == assignment

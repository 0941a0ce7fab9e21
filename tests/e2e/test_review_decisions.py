"""A job that pauses at its first weights, is looked at, and goes on with decisions, through SDK and command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from kdaif_client import (
    Client,
    Job,
    JobState,
    Mlp,
    Monitoring,
    PlantedNoise,
    ScorecardShares,
    TrainedTeacher,
    Training,
    Weighting,
    cli,
)
from typer.testing import CliRunner

from tests.e2e.conftest import Stack
from tests.e2e.digits import upload_digits
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BANNED = 60


@dataclass(frozen=True)
class Decided:
    """Two jobs of one spec: one resumed as it was, one with its most harmful samples banned."""

    left_alone: Job
    decided: Job
    banned: list[str]
    target: str


def _paused(job: Job) -> Job:
    def is_paused() -> bool:
        assert not job.refresh().state.is_terminal, job.info.failure
        return job.state is JobState.AWAITING_REVIEW

    wait_for(is_paused, timeout_s=100, every_s=0.1)
    return job


@pytest.fixture(scope="module")
def decided(stack: Stack) -> Iterator[Decided]:
    with Client(stack.target) as client:
        digits = upload_digits(client, pool=300)
        submitted = [
            client.submit(
                **digits.roles(),
                teacher=TrainedTeacher(epochs=10, planted_noise=PlantedNoise("class_swap", 0.4)),
                student=Mlp(hidden_sizes=(32,)),
                training=Training(rounds=4, epochs_per_round=2, seeds=1),
                weighting=Weighting(canary_bar=0, rounds_per_scoring=10),
                control_arms=("uniform",),
                # No weights are worth as many rows as there are, so the job pauses at its first scoring.
                monitoring=Monitoring(
                    "pause",
                    group_floor=0.0,
                    class_drift=0.0,
                    effective_share=1.0,
                    reliability=0.0,
                    scorecard_shares=ScorecardShares(accuracy=3.0, sustainability=1.0),
                    explained_rows=40,
                ),
            )
            for _ in range(2)
        ]
        left_alone, decided = map(_paused, submitted)
        banned = [weight.id for weight in decided.weights("val_loss_change_if_upweighted desc", limit=BANNED)]
        left_alone.resume(author="Ada", reason="it is meant to be so")
        ban = [argument for sample in banned for argument in ("--ban", sample)]
        arguments = ["resume", decided.name, *ban, "--author", "Bo", "--reason", "wrong labels"]
        done = CliRunner().invoke(cli.app, [*arguments, "--target", stack.target])
        assert done.exit_code == 0, done.output
        yield Decided(left_alone.wait(timeout_s=100), decided.wait(timeout_s=100), banned, stack.target)


def test_banned_samples_have_no_say_from_the_next_round_on(decided: Decided) -> None:
    histories = decided.decided.weight_history(decided.banned)
    assert [[each.round for each in rounds] for rounds in histories.values()] == [[1, 2]] * BANNED
    assert {rounds[-1].weight for rounds in histories.values()} == {0.0}
    # The other job was weighed once: scorings are ten rounds apart.
    (untouched,) = decided.left_alone.weight_history(decided.banned[:1]).values()
    assert [each.round for each in untouched] == [1]
    assert untouched[0].weight == histories[decided.banned[0]][0].weight


def test_the_decision_changed_the_student_and_not_the_uniform_one(decided: Decided) -> None:
    students = [{arm.arm: arm for arm in job.result.arms} for job in (decided.left_alone, decided.decided)]
    assert students[0]["uniform"].accuracy == students[1]["uniform"].accuracy
    hashes = [
        {file.path: file.sha256 for file in job.student().files}["model.onnx"]
        for job in (decided.left_alone, decided.decided)
    ]
    assert hashes[0] != hashes[1]


def test_the_log_tells_who_let_each_job_go_on(decided: Decided) -> None:
    with Client(decided.target) as client:
        of_job = [entry for entry in client.audit() if entry.subject == decided.decided.name]
        assert [(entry.action, entry.author, entry.reason) for entry in of_job] == [
            ("resume", "Bo", "wrong labels"),
            ("set overrides", "Bo", "wrong labels"),
        ]
        assert {each["id"] for each in json.loads(of_job[1].details["decisions"])} == set(decided.banned)
        of_other = [entry for entry in client.audit() if entry.subject == decided.left_alone.name]
        assert [(entry.action, entry.author) for entry in of_other] == [("resume", "Ada")]
        assert client.verify_audit().faults == ()


def test_banned_samples_are_explained_and_the_text_says_whom_they_harm(decided: Decided) -> None:
    found = decided.decided.explain(decided.banned[0])
    evidence = found.evidence
    assert evidence is not None
    assert evidence.search is not None
    assert evidence.search.searched_rows == evidence.search.pool_rows == 400
    explained = [decided.decided.explain(sample).evidence for sample in decided.banned]
    assert sum(each is not None and each.chosen == "overridden" for each in explained) == 20
    assert "Harms most: v-" in str(found)
    assert "Nearest in the student's eyes: " in str(found)


def test_the_composite_is_by_the_user_s_shares_and_says_what_was_not_readable(decided: Decided) -> None:
    card = decided.decided.result.scorecard
    assert card is not None
    assert card.shares == {"accuracy": 3.0, "sustainability": 1.0}
    assert card.accuracy is not None
    assert card.sustainability is not None
    assert card.composite == pytest.approx((3 * card.accuracy + card.sustainability) / 4)
    assert ("energy_j" in card.figures) != any("energy_j" in note for note in card.notes)


def test_a_re_run_explains_what_was_asked(decided: Decided) -> None:
    with Client(decided.target) as client:
        job, sample = decided.left_alone, None
        for weight in job.weights():
            evidence = job.explain(weight.id).evidence
            if evidence is not None and not evidence.chosen:
                sample = weight.id
                break
        assert sample is not None
        assert f"kdaif rerun --explain {sample}" in str(job.explain(sample))
        monitoring = job.info.spec.monitoring
        assert monitoring is not None
        asked = replace(monitoring, on_alarm="report", explain_ids=[sample])
        again = client.rerun(job, monitoring=asked).wait(timeout_s=100)
        found = again.explain(sample).evidence
        assert found is not None
        assert found.chosen == "asked"
        assert found.mean is not None

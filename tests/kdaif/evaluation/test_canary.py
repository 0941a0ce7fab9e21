import pytest

from kdaif.evaluation import canary_sentence
from kdaif.records import CanaryCheck


def check(auroc: float, bar: float = 0.5) -> CanaryCheck:
    return CanaryCheck(bar=bar, flipped=20, kept=21, auroc=auroc, stderr=0.08)


@pytest.mark.parametrize(("auroc", "failed"), [(0.41, True), (0.43, False), (0.9, False), (0.0, True)])
def test_only_more_than_one_standard_error_under_the_bar_fails(auroc: float, failed: bool) -> None:
    assert check(auroc).failed is failed
    assert canary_sentence(check(auroc)).startswith(f"The canary check {'failed' if failed else 'passed'}: ")


def test_a_failed_check_says_what_is_shipped_and_what_is_lost() -> None:
    sentence = canary_sentence(check(0.3), overridden=12)
    assert "20 planted wrong labels from 21 right ones with an AUROC of 0.30 ± 0.08" in sentence
    assert "under the bar of 0.5" in sentence
    assert "so the student of the uniform arm is shipped; the weight override of 12 rows has no effect" in sentence
    assert "override" not in canary_sentence(check(0.3))
    assert "override" not in canary_sentence(check(0.9), overridden=12)


def test_a_pass_that_is_not_clearly_above_chance_says_so() -> None:
    assert "not clearly above chance" in canary_sentence(check(0.57))
    assert "chance" not in canary_sentence(check(0.59))


def test_a_skipped_check_does_not_fail_and_says_why() -> None:
    skipped = CanaryCheck(bar=0.5, flipped=3, kept=4, skipped="there are too few rows")
    assert not skipped.failed
    assert skipped.metrics() == {}
    assert canary_sentence(skipped) == "The canary check was skipped: there are too few rows."

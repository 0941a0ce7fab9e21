"""The moves of a line, each against a plain model of what a line is."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdaif.errors import FailedPreconditionError
from kdaif.records.lines import Canary, Line, LineAction, LineRevision
from kdaif.rollout import line as moves

MOVES = st.one_of(
    st.tuples(st.just("champion"), st.sampled_from("abcd")),
    st.tuples(st.just("canary"), st.sampled_from("abcd")),
    st.tuples(st.sampled_from(["share", "promote", "drop", "back"]), st.just("")),
)


@given(st.lists(MOVES, max_size=30))
def test_any_order_of_moves_keeps_a_line_whole(given_moves: list[tuple[str, str]]) -> None:
    line, champions, canary = Line(), list[str](), ""
    for move, student in given_moves:
        with contextlib.suppress(FailedPreconditionError):
            match move:
                case "champion":
                    line = moves.set_champion(line, student)
                    champions, canary = [*champions, student], ""
                case "canary":
                    line = moves.start_canary(line, Canary(student, 0.1, "r"))
                    canary = student
                case "share":
                    line = moves.set_share(line, 0.5, automatic=True, forced=False)
                case "promote":
                    line = moves.promote(line)
                    champions, canary = [*champions, canary], ""
                case "drop":
                    line = moves.drop_canary(line)
                    canary = ""
                case "back":
                    line = moves.drop_champion(line)
                    champions, canary = champions[:-1], ""
        assert line.champions == tuple(champions)
        assert (line.canary.student if line.canary else "") == canary
        assert line.champion == (champions[-1] if champions else None)
        assert not line.canary or line.canary.student != line.champion
        revision = LineRevision(1, LineAction.PROMOTE, student, "me", "why", 5, line)
        assert LineRevision.from_json(revision.to_json()) == revision


def test_a_changed_share_is_the_same_rollout() -> None:
    line = moves.start_canary(Line(("a",)), Canary("b", 0.05, "r", forced=True))
    grown = moves.set_share(line, 0.5, automatic=False, forced=False)
    assert grown.canary == Canary("b", 0.5, "r", forced=True)


def test_what_a_line_does_not_allow_says_what_to_do() -> None:
    one = Line(("a",))
    with pytest.raises(FailedPreconditionError, match="set a champion first"):
        moves.start_canary(Line(), Canary("b", 0.1, "r"))
    with pytest.raises(FailedPreconditionError, match="promote it or roll it back first"):
        moves.start_canary(moves.start_canary(one, Canary("b", 0.1, "r")), Canary("c", 0.1, "r"))
    with pytest.raises(FailedPreconditionError, match="try another one"):
        moves.start_canary(one, Canary("a", 0.1, "r"))
    with pytest.raises(FailedPreconditionError, match="no rollout is going on"):
        moves.promote(one)
    with pytest.raises(FailedPreconditionError, match="set another champion"):
        moves.drop_champion(one)


def test_a_line_forgets_champions_of_long_ago() -> None:
    line = Line()
    for number in range(150):
        line = moves.set_champion(line, str(number))
    assert (len(line.champions), line.champions[0], line.champion) == (100, "50", "149")

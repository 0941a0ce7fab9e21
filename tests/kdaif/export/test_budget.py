"""The largest network within a budget, or a refusal that says what the smallest costs."""

from typing import Any

import pytest

from kdaif.datasets import InputSignature
from kdaif.errors import InvalidInputError
from kdaif.export import largest_within, require_within
from kdaif.records import Auto, Export, Mlp
from kdaif.students import build_student, ladder
from tests.kdaif.inputs import NUMERIC, TEXT, rows_of


def parameters(network: Any, signature: InputSignature) -> int:
    student = build_student(network, signature, 3, rows_of(signature, 20), 0)
    return sum(p.numel() for p in student.parameters())


@pytest.mark.parametrize(
    ("signature", "max_kb"),
    [(NUMERIC, 12.0), pytest.param(TEXT, 20.0, marks=pytest.mark.slow)],
)
def test_the_largest_file_within_the_budget_is_chosen(signature: InputSignature, max_kb: float) -> None:
    small = largest_within(Auto(max_kb=max_kb), signature, 3, rows_of(signature, 20))
    assert small.size_kb <= max_kb
    # A file of just those bytes still fits, and one byte less is another network.
    assert largest_within(Auto(max_kb=small.size_kb), signature, 3, rows_of(signature, 20)).network == small.network
    smaller = largest_within(Auto(max_kb=small.size_kb - 0.001), signature, 3, rows_of(signature, 20))
    assert parameters(smaller.network, signature) < parameters(small.network, signature)
    larger = [n for n in ladder(signature.kind) if parameters(n, signature) > parameters(small.network, signature)]
    assert larger
    assert all(4 * parameters(network, signature) > 0.5 * 1000 * small.size_kb for network in larger)


def test_a_budget_in_time_alone_is_kept() -> None:
    found = largest_within(Auto(max_ms=1000.0), NUMERIC, 3, rows_of(NUMERIC, 20))
    assert found.network == ladder("numeric")[-1]
    assert 0 < found.ms_per_row <= 1000


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (Auto(max_kb=0.1), r"no network fits 0\.1 kB: the smallest, Mlp.*hidden_sizes=\(8,\).* file of \d+\.\d kB"),
        (Auto(max_ms=1e-6), r"no network fits 1e-06 ms: .*takes 0\.\d+ ms for a row"),
    ],
)
def test_where_none_fits_the_smallest_is_named(budget: Auto, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as refused:
        largest_within(budget, NUMERIC, 3, rows_of(NUMERIC, 20))
    assert [v.field for v in refused.value.violations] == ["spec.student.auto"]


LARGE = Mlp(hidden_sizes=(512, 256))


def test_a_named_network_within_its_budget_passes() -> None:
    require_within(LARGE, Export(), NUMERIC, 3, rows_of(NUMERIC, 20))
    require_within(LARGE, Export(max_kb=1000.0, max_ms=1000.0), NUMERIC, 3, rows_of(NUMERIC, 20))


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (
            Export(max_kb=12.0),
            r"\(512, 256\).* file of 5\d\d\.\d kB .* over 12 kB: Mlp\(.* would fit, with \d+\.\d kB and 0\.\d+ ms",
        ),
        (Export(max_ms=1e-6), r"over 1e-06 ms: no network fits 1e-06 ms: the smallest, Mlp\("),
    ],
)
def test_one_over_it_is_refused_with_what_would_fit(budget: Export, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as refused:
        require_within(LARGE, budget, NUMERIC, 3, rows_of(NUMERIC, 20))
    assert [v.field for v in refused.value.violations] == ["spec.export"]

import pytest

from benchmarks.influence.page import Checked, page
from benchmarks.influence.plan import Entry
from benchmarks.influence.summary import Row, figures


def row(method: str, spearman: float, warm_s: float, peak_mib: float, net: str = "mlp") -> Row:
    return Row(Entry(method, net), 2 * warm_s, warm_s, peak_mib, spearman, 0.7, None, 5)  # type: ignore[arg-type]


ROWS = [
    row("kdaif/preconditioned_cg", 0.96, 0.5, 80),
    row("kdaif/ekfac", 0.58, 0.1, 60),
    row("kdaif/head", 0.4, 0.01, 20),
    row("curvlinops/cg", 0.97, 4.0, 100),
    row("kronfluence/ekfac", 0.57, 10.0, 400),
    row("dattri/cg", 0.2, 1.0, 500),
    row("dattri/linearised_cg", 0.97, 20.0, 60),
]


def test_speedups_are_over_those_that_are_as_true() -> None:
    found = figures(ROWS)
    assert found["speedup_at_95_mlp"] == pytest.approx(20.0 / 0.5)
    assert found["speedup_vs_curvlinops_min"] == pytest.approx(4.0 / 0.5)
    assert found["speedup_vs_kronfluence_mlp"] == pytest.approx(10.0 / 0.1)
    assert found["peak_memory_ratio_max"] == pytest.approx(80 / 60)
    assert "speedup_at_95_cnn" not in found


def test_the_slower_network_counts_against_curvlinops() -> None:
    cnn = [row("kdaif/cg", 0.99, 1.0, 50, "cnn"), row("curvlinops/cg", 0.99, 2.0, 70, "cnn")]
    assert figures([*ROWS, *cnn])["speedup_vs_curvlinops_min"] == pytest.approx(2.0)


def test_the_page_says_what_is_missed_and_what_was_refused() -> None:
    text = page(ROWS, {"pydvl/ekfac cnn 0": "Linear only"}, figures(ROWS), [Checked("mlp", 1e-10, 90, 2e-10)], "", "")
    assert "| `peak_memory_ratio_max` | < 1 | 1.33, **missed** |" in text
    assert "| `speedup_at_95_mlp` | >= 10 | 40 |" in text
    assert "Linear only" in text

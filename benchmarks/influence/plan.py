"""What runs, with which settings."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.influence.work import Net


@dataclass(frozen=True)
class Entry:
    """One method on one network.

    Attributes:
        method: as `clock` names it; before the slash is the library.
        net: which network.
        steps: products with the matrix; 0 where there are none.
        most_repeats: of the whole run, less where one takes over a minute.
    """

    method: str
    net: Net
    steps: int = 0
    most_repeats: int = 5

    @property
    def ours(self) -> bool:
        """Whether it runs in the product's environment."""
        return self.method.startswith("kdaif/")

    @property
    def key(self) -> str:
        """One name per entry."""
        return f"{self.method} {self.net} {self.steps}"


# Steps: the fewest tens at which plain conjugate gradient, the same in every library, is at .95 of the exact ranks; and
# the fewest, up to one, of ours with a preconditioner. Two of those, or five on few rows, are as true as an EK-FAC.
CG_STEPS: dict[Net, int] = {"mlp": 70, "cnn": 20}
PRECONDITIONED_STEPS: dict[Net, int] = {"mlp": 10, "cnn": 5}
TWO_LEVEL_STEPS: dict[Net, int] = {"mlp": 8, "cnn": 2}


_STEPS_AS_EKFAC, _STEPS_ON_FEW = 2, 5


def entries(net: Net) -> list[Entry]:
    """Interleaved in this order, cheap ones first."""
    steps = CG_STEPS[net]
    return [
        Entry("kdaif/two_level_cg", net, TWO_LEVEL_STEPS[net]),
        Entry("kdaif/cg_on_few", net, _STEPS_ON_FEW),
        Entry("kdaif/preconditioned_cg", net, PRECONDITIONED_STEPS[net]),
        Entry("kdaif/preconditioned_cg", net, _STEPS_AS_EKFAC),
        Entry("kdaif/ekfac", net),
        Entry("kdaif/head", net),
        Entry("kdaif/cg", net, steps),
        Entry("captum/tracin", net),
        Entry("curvlinops/cg", net, steps),
        Entry("curvlinops/ekfac", net),
        Entry("kronfluence/ekfac", net, most_repeats=3),
        Entry("kronfluence/ekfac_on_few", net, most_repeats=3),
        Entry("pydvl/ekfac", net, most_repeats=1),
        Entry("pydvl/nystroem", net, most_repeats=1),
        Entry("dattri/cg", net, steps, most_repeats=1),
        Entry("dattri/linearised_cg", net, steps, most_repeats=1),
        Entry("pydvl/cg", net, steps, most_repeats=1),
    ]


SETTINGS: dict[str, str] = {
    "kdaif/preconditioned_cg": "CG on all rows, preconditioned with an EK-FAC of 200 rows",
    "kdaif/two_level_cg": "CG on all rows, preconditioned with 5 steps on 300 rows, and those with an EK-FAC of 150",
    "kdaif/cg": "CG on all rows",
    "kdaif/cg_on_few": "CG on 150 rows",
    "kdaif/ekfac": "exact Fisher of 250 rows",
    "kdaif/head": "last layer, closed form",
    "captum/tracin": "TracInCPFast, one checkpoint: no curvature",
    "curvlinops/cg": "assembled by hand: GGN, CG inverse, forward-mode derivative",
    "curvlinops/ekfac": "assembled by hand: type-2 Fisher of all rows, exact damping, forward-mode derivative",
    "kronfluence/ekfac": "defaults, `aggregate_query_gradients`",
    "kronfluence/ekfac_on_few": "the same, its factors fitted to 250 rows",
    "pydvl/ekfac": "`update_diagonal`, one right-hand side",
    "pydvl/nystroem": "rank 100, Hessian, one right-hand side",
    "pydvl/cg": "Hessian, one right-hand side",
    "dattri/cg": "Hessian, V as one sample",
    "dattri/linearised_cg": "Hessian of the linearised network, V as one sample",
}

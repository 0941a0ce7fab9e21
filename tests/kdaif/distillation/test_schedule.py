import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdaif.distillation import learning_rates, round_schedule
from kdaif.records.spec import Training


def test_d7_a_last_batch_of_one_row_joins_the_one_before() -> None:
    steps = round_schedule(10, 65, batch_size=32, epochs=1, seed=0, round_number=1)
    assert [len(step.unlabeled) for step in steps] == [32, 33]


@given(
    n_labeled=st.integers(1, 40),
    n_unlabeled=st.integers(1, 90),
    batch_size=st.integers(2, 32),
    epochs=st.integers(1, 3),
)
def test_every_row_of_u_once_per_epoch_and_every_labelled_row_about_equally_often(
    n_labeled: int, n_unlabeled: int, batch_size: int, epochs: int
) -> None:
    steps = round_schedule(n_labeled, n_unlabeled, batch_size=batch_size, epochs=epochs, seed=1, round_number=2)
    seen = np.bincount(np.concatenate([step.unlabeled for step in steps]), minlength=n_unlabeled)
    assert (seen == epochs).all()
    labelled = np.bincount(np.concatenate([step.labeled for step in steps]), minlength=n_labeled)
    assert labelled.max() - labelled.min() <= 1
    assert all(len(step.labeled) >= 2 for step in steps)
    assert n_unlabeled == 1 or all(len(step.unlabeled) >= 2 for step in steps)


@pytest.mark.parametrize(("seed", "round_number", "same"), [(0, 1, True), (0, 2, False), (1, 1, False)])
def test_the_order_is_a_function_of_seed_and_round(seed: int, round_number: int, same: bool) -> None:
    first = round_schedule(10, 50, batch_size=8, epochs=2, seed=0, round_number=1)
    second = round_schedule(10, 50, batch_size=8, epochs=2, seed=seed, round_number=round_number)
    equal = [
        np.array_equal(a.unlabeled, b.unlabeled) and np.array_equal(a.labeled, b.labeled)
        for a, b in zip(first, second, strict=True)
    ]
    assert all(equal) if same else not any(equal)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=30),
    batch_size=st.integers(2, 16),
    epochs=st.integers(1, 4),
)
def test_balanced_each_class_comes_equally_often_and_so_does_each_row_of_a_class(
    labels: list[int], batch_size: int, epochs: int
) -> None:
    codes = np.array(labels)
    steps = round_schedule(
        len(codes), 60, batch_size=batch_size, epochs=epochs, seed=1, round_number=2, balanced_labels=codes
    )
    seen = np.bincount(np.concatenate([step.labeled for step in steps]), minlength=len(codes))
    of_class = np.array([seen[codes == code].sum() for code in np.unique(codes)])
    assert of_class.max() - of_class.min() <= 1
    assert all(np.ptp(seen[codes == code]) <= 1 for code in np.unique(codes))
    # U is passed through as before, in batches of the same size.
    plain = round_schedule(len(codes), 60, batch_size=batch_size, epochs=epochs, seed=1, round_number=2)
    assert all(np.array_equal(a.unlabeled, b.unlabeled) for a, b in zip(steps, plain, strict=True))
    assert [len(step.labeled) for step in steps] == [len(step.labeled) for step in plain]


def test_without_balance_a_rare_class_stays_rare() -> None:
    codes = np.array([0] * 18 + [1] * 2)
    drawn = {
        name: np.concatenate(
            [s.labeled for s in round_schedule(20, 64, batch_size=8, epochs=5, seed=0, round_number=1, **options)]
        )
        for name, options in (("plain", {}), ("balanced", {"balanced_labels": codes}))
    }
    assert codes[drawn["plain"]].mean() == pytest.approx(0.1, abs=0.02)
    assert codes[drawn["balanced"]].mean() == pytest.approx(0.5, abs=0.02)


def test_cosine_rates_over_the_rounds_are_those_of_one_long_annealing() -> None:
    training = Training(rounds=3, learning_rate=0.1, schedule="cosine")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3 * 7)
    expected = []
    for _ in range(3 * 7):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        annealing.step()
    found = [rate for number in (1, 2, 3) for rate in learning_rates(training, 7, number)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found[0] == 0.1
    assert found[-1] < 0.001


def test_the_constant_rate_is_the_learning_rate() -> None:
    assert learning_rates(Training(learning_rate=0.3), 4, 2) == [0.3] * 4

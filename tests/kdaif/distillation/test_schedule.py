import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdaif.distillation import round_schedule


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

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdaif.influence import Nearest, NearestSearch

_ROWS = np.random.default_rng(3).normal(size=(200, 8)) + 1000.0  # far from 0, where squares are large
_ROWS[150] = _ROWS[7]
_ASKED = np.array([7, 30, 199])


def _searched(run: int, most: int = 5, rows: np.ndarray = _ROWS) -> Nearest:
    search = NearestSearch(torch.from_numpy(rows[_ASKED]), torch.from_numpy(_ASKED), most)
    for start in range(0, len(rows), run):
        some = np.arange(start, min(start + run, len(rows)))
        search.look(torch.from_numpy(rows[some]), torch.from_numpy(some))
    return search.found()


@pytest.mark.parametrize("run", [1, 64, 1000])
def test_the_nearest_rows_are_those_of_all_differences(run: int) -> None:
    found = _searched(run)
    distances = np.linalg.norm(_ROWS[_ASKED][:, None] - _ROWS, axis=2)
    distances[np.arange(3), _ASKED] = np.inf
    expected = np.argsort(distances, axis=1)[:, :5]
    np.testing.assert_array_equal(found.places, expected)
    every = np.linalg.norm(_ROWS[:, None] - _ROWS, axis=2)
    usual = np.sqrt(np.square(every).mean())
    np.testing.assert_allclose(found.distances, np.take_along_axis(distances, expected, 1) / usual, atol=1e-6)
    assert found.searched == 200


def test_a_copy_of_a_row_is_at_no_distance_and_the_row_itself_is_no_neighbour() -> None:
    found = _searched(50)
    assert found.places[0, 0] == 150
    assert found.distances[0, 0] < 1e-6
    assert not (found.places == _ASKED[:, None]).any()


def test_fewer_rows_than_asked_for_leave_places_empty() -> None:
    search = NearestSearch(torch.from_numpy(_ROWS[:1]), torch.tensor([0]), 4)
    search.look(torch.from_numpy(_ROWS[:3]), torch.arange(3))
    found = search.found()
    assert (found.places[0] >= 0).tolist() == [True, True, False, False]
    assert np.isnan(found.distances[0, 2:]).all()

import dataclasses

import numpy as np
import pytest
import torch
from kdaif_client import Provenance

from kdaif.rounds.beliefs import Beliefs, smoothed
from kdaif.teachers import SoftTargets
from kdaif.workspace import Workspace

from .test_train_arm import data, run, spec


def test_beliefs_are_smoothed_over_rounds() -> None:
    first = Beliefs(torch.tensor([2.0]), torch.tensor([0.0, 4.0]), torch.tensor([[0.2, 0.8]]))
    second = Beliefs(torch.tensor([-2.0]), torch.tensor([8.0, 0.0]), torch.tensor([[1.0, 0.0]]))
    assert smoothed(None, first, 0.75) is first
    both = smoothed(first, second, 0.75)
    assert both.pseudo_labels.tolist() == [1.0]
    assert both.known_labels.tolist() == [2.0, 3.0]
    torch.testing.assert_close(both.probabilities, torch.tensor([[0.4, 0.6]]))


def test_beliefs_come_back_from_their_tensors() -> None:
    beliefs = Beliefs(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([[0.2, 0.8]]))
    back = Beliefs.from_tensors(beliefs.tensors(), Workspace(torch.device("cpu")))
    assert all(torch.equal(tensor, back.tensors()[name]) for name, tensor in beliefs.tensors().items())


def test_trust_stays_what_the_scout_found() -> None:
    at_first = Beliefs(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([[0.2, 0.8]]), torch.tensor([1.5]))
    at_first = dataclasses.replace(at_first, trust_line=torch.tensor([0.5, -1.0]))
    later = Beliefs(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([[0.4, 0.6]]))
    both = smoothed(smoothed(at_first, later, 0.75), later, 0.75)
    assert both.trust is not None
    assert both.trust.tolist() == [1.5]
    assert both.trust_line is at_first.trust_line


def test_a_checkpoint_of_before_there_was_trust_goes_on_without() -> None:
    beliefs = Beliefs(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([[0.2, 0.8]]))
    assert "trust" not in beliefs.tensors()
    back = Beliefs.from_tensors(beliefs.tensors(), Workspace(torch.device("cpu")))
    assert back.trust is None
    assert smoothed(back, beliefs, 0.75).trust is None


@pytest.mark.parametrize("folds", [{}, {"cross_fit_folds": 3}], ids=["validation", "folds"])
def test_a_round_tells_the_trust_from_which_a_rows_part_of_it_can_be_told(folds: dict[str, int]) -> None:
    """As `Explanation` tells it, from the teacher's confidence alone."""
    given = data(200)
    assert given.unlabeled.truth is not None
    # As sure as it is right: from an even chance to near certainty.
    generator = np.random.default_rng(0)
    sure = generator.uniform(0.4, 0.99, len(given.unlabeled))
    right = generator.random(len(sure)) < sure
    said = np.where(right, given.unlabeled.truth, (given.unlabeled.truth + 1) % 3)
    p = np.where(np.eye(3, dtype=bool)[said], sure[:, None], (1 - sure[:, None]) / 2)
    targets = SoftTargets(np.log(p).astype(np.float32), None, None, None)
    first, *later = run("influence", given, spec(**folds), targets=targets)
    assert 0.1 < first.metrics["teacher_trust"] <= 1.0
    told = [outcome.metrics["teacher_trust"] for outcome in later if outcome.weights is not None]
    assert told == [first.metrics["teacher_trust"]] * len(told)
    assert first.weights is not None
    table = first.weights.table()
    trust, least = (first.metrics[f"teacher_{name}"] for name in ("trust", "least_sureness"))
    made_by = Provenance("j1", 1, 1, 32, "head", 0.03, 0, "1.0", trust, least)
    of_row = dict(zip(given.unlabeled.ids.tolist(), first.state.tensors["beliefs/trust"].tolist(), strict=True))
    confidences = table.column("teacher_confidence").to_pylist()
    parts = [made_by.trust_in(confidence) for confidence in confidences]
    np.testing.assert_allclose(parts, [of_row[row_id] for row_id in table.column("id").to_pylist()], atol=1e-4)
    assert max(of_row.values()) - min(of_row.values()) > 0.3

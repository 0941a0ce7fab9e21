import torch

from kdaif.rounds.beliefs import Beliefs, smoothed
from kdaif.workspace import Workspace


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
    later = Beliefs(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([[0.4, 0.6]]))
    both = smoothed(smoothed(at_first, later, 0.75), later, 0.75)
    assert both.trust is not None
    assert both.trust.tolist() == [1.5]


def test_a_checkpoint_of_before_there_was_trust_goes_on_without() -> None:
    beliefs = Beliefs(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([[0.2, 0.8]]))
    assert "trust" not in beliefs.tensors()
    back = Beliefs.from_tensors(beliefs.tensors(), Workspace(torch.device("cpu")))
    assert back.trust is None
    assert smoothed(back, beliefs, 0.75).trust is None

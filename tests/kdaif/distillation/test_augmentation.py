"""Rows are varied in training steps alone, and only as far as their class allows."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdaif.distillation import LabeledRows, SoftRows, augmented, log_probabilities, round_schedule, train_steps
from kdaif.errors import InvalidInputError
from kdaif.records import Training


def test_pictures_are_shifted_by_an_eighth_at_most_and_half_are_mirrored() -> None:
    torch.manual_seed(0)
    pictures = torch.zeros(2000, 16, 9, 1, dtype=torch.uint8)
    pictures[:, 8, 2, 0] = 200
    moved = augmented(pictures)
    assert (moved.dtype, moved.shape) == (torch.uint8, pictures.shape)
    place = moved[..., 0].flatten(1).argmax(dim=1)
    assert set((place // 9).tolist()) == {6, 7, 8, 9, 10}
    assert set((place % 9).tolist()) == {1, 2, 3, 5, 6, 7}
    assert 900 < int((place % 9 > 4).sum()) < 1100
    assert moved.sum() == pictures.sum()


def test_zeros_come_in_where_a_picture_was_shifted() -> None:
    torch.manual_seed(0)
    moved = augmented(torch.full((200, 8, 8, 3), 9, dtype=torch.uint8))
    assert set(moved.flatten().tolist()) == {0, 9}
    assert {int(each) for each in (moved[..., 0] == 0).sum(dim=(1, 2))} == {0, 8, 15}


def test_a_tenth_of_the_word_pieces_is_left_out_and_never_all() -> None:
    torch.manual_seed(0)
    ids = torch.arange(1, 21, dtype=torch.int32).repeat(2000, 1)
    varied = augmented(ids)
    assert varied.dtype == torch.int32
    assert bool(((varied == ids) | (varied == 0)).all())
    assert 0.09 < float((varied == 0).float().mean()) < 0.11
    single = torch.zeros(500, 4, dtype=torch.int32)
    single[:, 0] = 7
    assert torch.equal(augmented(single), single)
    nothing = torch.zeros(3, 4, dtype=torch.int32)
    assert torch.equal(augmented(nothing), nothing)


def test_numbers_are_refused_by_field() -> None:
    with pytest.raises(InvalidInputError, match="augment needs images or text") as refused:
        augmented(torch.randn(3, 4))
    assert [v.field for v in refused.value.violations] == ["spec.training.augment"]


class _Spy(nn.Module):
    """Keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.seen = nn.Linear(64, 3), []

    def forward(self, rows: Tensor) -> Tensor:
        self.seen.append(rows.clone())
        return self.head(rows.flatten(1).float())


def shown(*, augment: bool, seed: int) -> tuple[Tensor, Tensor]:
    """What one step shows to a student, and the generator's state after it."""
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), dtype=np.uint8))
    labeled = LabeledRows(pictures[:8], torch.arange(8) % 3, np.arange(8))
    soft = SoftRows(pictures[8:], log_probabilities(torch.randn(16, 3), 2.0), torch.ones(16), np.arange(16))
    steps = list(round_schedule(8, 16, batch_size=16, epochs=1, seed=0, round_number=1))
    spy = _Spy()
    torch.manual_seed(seed)
    train_steps(spy, torch.optim.SGD(spy.parameters(), lr=0.1), labeled, soft, steps, Training(augment=augment))
    given = torch.cat([pictures[:8][torch.from_numpy(steps[0].labeled)], pictures[8:][steps[0].unlabeled]])
    return spy.seen[0], given


def test_labelled_and_unlabelled_rows_are_varied_alike_by_the_seed() -> None:
    seen, given = shown(augment=True, seed=1)
    changed = (seen != given).flatten(1).any(dim=1)
    assert changed[:8].any()
    assert changed[8:].any()
    assert torch.equal(shown(augment=True, seed=1)[0], seen)
    assert not torch.equal(shown(augment=True, seed=2)[0], seen)


def test_off_shows_the_rows_as_they_are_and_draws_nothing() -> None:
    seen, given = shown(augment=False, seed=1)
    assert torch.equal(seen, given)
    torch.manual_seed(1)
    expected = torch.rand(1)
    shown(augment=False, seed=1)
    assert torch.equal(torch.rand(1), expected)

"""A larger network trained on the labelled rows."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from kdaif.datasets import DistillationData
from kdaif.errors import NonFiniteError
from kdaif.records.spec import Training
from kdaif.records.teachers import TrainedTeacher, teacher_network_of
from kdaif.scratch import Scratch
from kdaif.students import Student, build_student, standardisation
from kdaif.teachers.folds import stratified_folds, taken
from kdaif.teachers.outputs import Asked, TeacherOutputs, asked_parts, mean_of_probabilities, whole
from kdaif.top_classes import Logits, empty_logits, softening
from kdaif.workspace import Workspace

# Epochs without a lower validation loss after which training ends.
_PATIENCE = 20
_ROWS_PER_PASS = 1024


@dataclass(frozen=True, eq=False)
class TeacherNetwork:
    """The network in eval mode, on its device."""

    network: Student
    device: torch.device

    def logits(
        self, features: NDArray[np.generic], scratch: Scratch | None = None, temperature: float | None = None
    ) -> Logits:
        """float32 `[N, C]` for raw rows, in scratch where that is large; with a temperature by the largest classes."""
        workspace = Workspace(torch.device("cpu"), scratch)
        given = torch.from_numpy(features)
        logits = empty_logits(len(given), self.network.head.out_features, temperature, workspace.scratch)
        with torch.no_grad():
            for rows in workspace.passes(len(given), _ROWS_PER_PASS):
                logits[rows] = self.network(given[rows].to(self.device)).float().cpu().numpy()
        return logits

    def asked(self, features: NDArray[np.generic]) -> Asked:
        """The same, said where they are read."""
        shape = (len(features), self.network.head.out_features)
        return Asked(shape, lambda rows: whole(self.logits(features[rows])))


def trained_outputs(
    source: TrainedTeacher,
    training: Training,
    data: DistillationData,
    device: torch.device,
    field: str,
    scratch: Scratch | None = None,
) -> TeacherOutputs:
    """Trains the network, or the several whose probabilities are averaged, and asks about every part.

    Several differ in their seed; of folds, each is trained without one fold of L as well, and rows of L hear the one
    that never saw them.

    Raises:
        NonFiniteError: the loss became NaN or infinite.
        InvalidInputError: the architecture does not fit the data, or L is too small for the folds.
    """
    parts = asked_parts(data)
    n_classes = len(data.class_names)
    temperatures = {"unlabeled": softening(training, n_classes)}
    if source.networks == source.folds == 1:
        teacher = train_teacher(source, training, data, device, field=field, scratch=scratch)
        said = {name: teacher.logits(rows.features, scratch, temperatures.get(name)) for name, rows in parts.items()}
        return TeacherOutputs.of_parts(said, network=copy.deepcopy(teacher.network).to("cpu"))
    labels = data.labeled.labels
    folds = np.full(len(labels), -1)
    if source.folds > 1:
        folds = stratified_folds(labels, source.folds, training.seed, f"{field}.folds")
    labeled = np.empty((len(labels), n_classes), dtype=np.float32)
    answers: dict[str, list[Logits | Asked]] = {name: [] for name in parts}
    for position in range(max(source.networks, source.folds)):
        unseen = folds == position
        seeded = training.model_copy(update={"seed": training.seed + position})
        seen = dataclasses.replace(data, labeled=taken(data.labeled, ~unseen))
        teacher = train_teacher(source, seeded, seen, device, field=field, scratch=scratch)
        for name, rows in parts.items():
            kept = temperatures.get(name) is not None
            answers[name].append(teacher.asked(rows.features) if kept else teacher.logits(rows.features, scratch))
        if unseen.any():
            labeled[unseen] = whole(teacher.logits(data.labeled.features[unseen]))
    said = {
        name: mean_of_probabilities(answer, scratch=scratch, temperature=temperatures.get(name))
        for name, answer in answers.items()
    }
    return TeacherOutputs.of_parts(said, labeled=labeled if source.folds > 1 else None)


def train_teacher(
    source: TrainedTeacher,
    training: Training,
    data: DistillationData,
    device: torch.device,
    *,
    field: str = "spec.teacher.train",
    scratch: Scratch | None = None,
) -> TeacherNetwork:
    """Cross-entropy on L with AdamW; keeps the parameters of the lowest loss on V. The test rows have no say.

    Args:
        source: architecture and the most epochs.
        training: batch size, learning rate, weight decay and seed, shared with the student.
        data: L trains and V stops; the inputs are standardised by U and L.
        device: where to train.
        field: where ``source`` stands in the request.
        scratch: of the rows; None where they are in memory.

    Raises:
        NonFiniteError: the loss became NaN or infinite.
        InvalidInputError: an architecture that is not for such rows.
    """
    inputs = standardisation([data.labeled.features, data.unlabeled.features], data.signature, scratch)
    network = build_student(
        teacher_network_of(source, data.signature.kind),
        data.signature,
        len(data.class_names),
        inputs,
        training.seed,
        field=f"{field}.architecture",
    ).to(device)
    features, labels = _on(device, data.labeled.features), _on(device, data.labeled.labels)
    held_out, held_out_labels = _on(device, data.validation.features), _on(device, data.validation.labels)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    generator = np.random.default_rng((training.seed, 5))
    best, best_loss, since_best = copy.deepcopy(network.state_dict()), float("inf"), 0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(training.seed)
        for epoch in range(source.epochs):
            _one_epoch(network, optimizer, features, labels, training.batch_size, generator, epoch)
            network.eval()
            with torch.no_grad():
                loss = float(functional.cross_entropy(network(held_out).float(), held_out_labels))
            if loss < best_loss:
                best, best_loss, since_best = copy.deepcopy(network.state_dict()), loss, 0
            else:
                since_best += 1
            if since_best >= _PATIENCE:
                break
    network.load_state_dict(best)
    return TeacherNetwork(network.eval(), device)


def _one_epoch(
    network: Student,
    optimizer: torch.optim.Optimizer,
    features: Tensor,
    labels: Tensor,
    batch_size: int,
    generator: np.random.Generator,
    epoch: int,
) -> None:
    network.train()
    n_batches = max(1, len(labels) // batch_size)  # equal parts: no last batch of one row for BatchNorm
    for rows in np.array_split(generator.permutation(len(labels)), n_batches):
        chosen = torch.from_numpy(rows).to(features.device)
        loss = functional.cross_entropy(network(features[chosen]).float(), labels[chosen])
        if not bool(torch.isfinite(loss)):
            raise NonFiniteError(
                f"The teacher's loss became NaN or infinite in epoch {epoch}. Lower spec.training.learning_rate."
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _on(device: torch.device, values: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(values).to(device)

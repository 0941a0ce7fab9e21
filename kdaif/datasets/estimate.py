"""What a job will cost, from counts alone: of the order of, not a promise.

A job is a fixed part, and steps. A step costs a fixed time in the interpreter and the arithmetic of its rows, forward
and twice that backward. Measured on two cores of a server CPU that were shared with other work, one thread each, from
start to end of the attempt, with three arms and the canary check; behind it what `estimate` says:

    120 + 500 rows of 4 numbers, mlp (64,), 2 rounds of 2 epochs, 1 seed            23 s, 675 MB     23 s, 651 MB
    600 + 3,000 rows of 20 numbers, mlp (64,), 4 rounds of 5 epochs, 2 seeds        56 s, 700 MB     53 s, 652 MB
    600 + 3,000 rows of 200 numbers, mlp (512, 512), 2 rounds of 3 epochs, 1 seed   54 s, 740 MB     58 s, 666 MB
    400 + 1,500 pictures of 16 x 16, cnn (16, 32), 2 rounds of 3 epochs, 1 seed     38 s, 786 MB     41 s, 653 MB

A teacher that is an ONNX file or a transformer is not counted: its size is not known before it is opened. Nor is a GPU.
"""

from __future__ import annotations

import math

from kdaif.datasets.examine import Examined
from kdaif.datasets.network_size import NetworkSize, network_size
from kdaif.records import DistillationSpec, Estimate, TrainedTeacher, teacher_network_of
from kdaif.scratch import MOST_IN_MEMORY_BYTES

_START_AND_EXPORT_S = 22.0
_STEP_S = 4e-3
_FLOPS_PER_S = 15e9
# A multiplication is followed by an addition; backward is twice forward.
_FLOPS_PER_MULTIPLICATION = 6
_WORKER_BYTES = 650_000_000
# Data as Arrow, as numpy and in torch; a parameter with its gradient, two moments and a moving average.
_COPIES_OF_DATA = 3
_BYTES_PER_ROW = 50
_BYTES_PER_PARAMETER = 5 * 4
_SCORING_EPOCHS = 1 / 3


def estimate(spec: DistillationSpec, data: Examined) -> Estimate:
    """Seconds of an attempt and bytes of the worker's process, on a CPU like that of the measurements."""
    student = network_size(spec.student, data.signature, len(data.class_names), spec.inputs.vocabulary_size)
    seconds = _START_AND_EXPORT_S + _distilling_s(spec, data, student)
    parameters = student.parameters
    for member in spec.teacher.members:
        if isinstance(member, TrainedTeacher):
            network = teacher_network_of(member, data.signature.kind)
            size = network_size(network, data.signature, len(data.class_names), spec.inputs.vocabulary_size)
            seconds += max(member.networks, member.folds) * _teaching_s(member, spec, data, size)
            parameters = max(parameters, size.parameters)
    memory = _WORKER_BYTES + _data_bytes(data) + _BYTES_PER_PARAMETER * parameters
    return Estimate(seconds=round(seconds, 1), memory_bytes=memory)


def _distilling_s(spec: DistillationSpec, data: Examined, student: NetworkSize) -> float:
    training, weighting = spec.training, spec.weighting
    batches = math.ceil(len(data.places["unlabeled"].rows) / training.batch_size)
    # Each step has a batch of unlabelled rows and one of labelled rows.
    step_s = _step_s(2 * training.batch_size, student)
    epochs = training.rounds * training.epochs_per_round
    folds = weighting.cross_fit_folds
    scorings = folds or training.rounds / weighting.rounds_per_scoring
    of_influence = epochs + max(1, folds) * weighting.scout_epochs + _SCORING_EPOCHS * scorings
    arms = _arms(spec, data)
    weighs = weighting.method == "influence"
    canary = of_influence if weighs and weighting.canary_bar > 0 else 0.0
    per_seed = sum(of_influence if arm == "influence" else epochs for arm in arms)
    return (training.seeds * per_seed + canary) * batches * step_s


def _teaching_s(teacher: TrainedTeacher, spec: DistillationSpec, data: Examined, size: NetworkSize) -> float:
    batches = math.ceil(len(data.places["labeled"].rows) / spec.training.batch_size)
    return teacher.epochs * batches * _step_s(min(spec.training.batch_size, len(data.places["labeled"].rows)), size)


def _arms(spec: DistillationSpec, data: Examined) -> set[str]:
    primary = "influence" if spec.weighting.method == "influence" else "uniform"
    if spec.control_arms is not None:
        return {primary, *spec.control_arms}
    truth = data.truth
    knows_truth = truth is not None and bool((truth[data.places["unlabeled"].rows] >= 0).any())
    return {primary, "uniform", "supervised", *(("oracle",) if knows_truth else ())}


def _step_s(rows: int, size: NetworkSize) -> float:
    return _STEP_S + _FLOPS_PER_MULTIPLICATION * rows * size.multiplications / _FLOPS_PER_S


def _data_bytes(data: Examined) -> int:
    """Bytes in memory: inputs of up to 64 MB are, larger ones are on the disk, and a few numbers a row always are."""
    row_bytes = math.prod(data.signature.shape) * (1 if data.signature.kind == "image" else 4)
    rows = [len(place.rows) for place in data.places.values()]
    inputs = sum(min(count * row_bytes, MOST_IN_MEMORY_BYTES) for count in rows)
    return _COPIES_OF_DATA * inputs + _BYTES_PER_ROW * sum(rows)

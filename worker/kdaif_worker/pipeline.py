"""One attempt, from data sets to a published bundle. Only glue: each step is a room's."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from opentelemetry.trace import Span
from torch.utils.flop_counter import FlopCounterMode

from kdaif import datasets
from kdaif.collective import Collective, processes_here
from kdaif.datasets import DistillationData
from kdaif.errors import InvalidDataError
from kdaif.processes import give_memory_back, keep_memory_between_steps
from kdaif.records import DistillationSpec, Progress
from kdaif.records.overrides import in_force
from kdaif.scratch import Scratch
from kdaif.store import BlobStore, DatasetStore
from kdaif.students import build_student, read_initial_weights
from kdaif.telemetry import start_span
from kdaif_worker.arms import train_all
from kdaif_worker.bundle import Trained, make_bundle, publish_bundle
from kdaif_worker.decisions import revisions_of, with_labels, with_weights
from kdaif_worker.messages import Assignment, ProgressMessage, ReviewMessage, ShardScoredMessage, SucceededMessage
from kdaif_worker.network import with_network
from kdaif_worker.resources import Meter
from kdaif_worker.review import ReviewNeededError
from kdaif_worker.sharded import is_to_be_sharded, require_shardable
from kdaif_worker.shards import Ask, ShardedScoring, score_shard
from kdaif_worker.targets import soft_targets

_FLOPS_WORTH_THREADS = 100_000_000  # of one forward pass over one batch


def run(
    assignment: Assignment, emit: Callable[[ProgressMessage], None], ask: Ask | None = None
) -> SucceededMessage | ReviewMessage | ShardScoredMessage | None:
    """Trains, evaluates, exports and uploads. Everything that the result names is durable on return.

    Of several processes that share the attempt (`Collective`), the first tells, writes and ends it; the others
    come back with None once every arm is trained.

    An alarm may end it early, for a person to look; the job then goes on from its checkpoint.

    Args:
        assignment: the attempt.
        emit: is told how far it is.
        ask: shares out the shards of a scoring; None scores a pool whole.

    Raises:
        TrainingError: and its kinds; the job cannot succeed.
        InvalidInputError: the data do not fit the spec.
        UnavailableError: the blob store does not answer.
    """
    spec, group = assignment.spec, Collective.of_this_process()
    device = _device(spec.device)
    if group.size > 1 and assignment.shard_students == "always":
        require_shardable(spec)
    meter, clock = Meter.started(device), _StageClock(emit)
    clock.stage("load", 0.0, f"on {device}")
    blobs = BlobStore.open(assignment.blob_url)
    scratch = Scratch(assignment.cache_dir / "scratch")
    if assignment.shard is not None:
        score_shard(assignment, assignment.shard, blobs, scratch, device)
        clock.end()
        return ShardScoredMessage()
    spool = assignment.cache_dir / "spool"
    store = DatasetStore(blobs, spool, datasets.inspect, references=assignment.references)
    roles = spec.dataset_ids()
    files = {
        role: store.fetch(assignment.tenant, dataset_id, assignment.cache_dir) for role, dataset_id in roles.items()
    }
    with group.first_alone():
        revisions = revisions_of(assignment, blobs)
    revisions = revisions[: group.agreed(len(revisions))]  # a person may have added one in between
    decisions = in_force(revisions)
    data = with_weights(datasets.prepare(spec, files, scratch), decisions)
    with group.first_alone():
        assignment = with_network(assignment, data, blobs)
    spec = assignment.spec
    initial_weights = _initial_weights(spec, data, files)
    sharded = is_to_be_sharded(assignment, data, device, group)
    if sharded and not group.leads:
        initial_weights = None  # the first process's are used
    large = sharded or _is_worth_threads(spec, data)
    # torch starts with a thread for each CPU that it may use, or with as many as OMP_NUM_THREADS allows; in one of
    # several processes, with its part of them.
    own = torch.get_num_threads() if large else 1
    torch.set_num_threads(own if assignment.threads is None else max(1, assignment.threads // processes_here()))
    if large:
        keep_memory_between_steps()
    clock.stage("teacher", 0.02)
    with group.first_alone():
        said, teacher_cost = soft_targets(assignment, data, device, blobs, files, scratch)
    targets = with_labels(said, data, decisions, scratch)
    clock.stage("distil", 0.05, f"each of {group.size} processes holds a part of the student" if sharded else "")
    scoring = None
    if ask is not None and spec.weighting.rows_per_shard > 0:
        scoring = ShardedScoring(assignment, data, blobs, scratch, ask)
    try:
        point = train_all(
            assignment,
            data,
            targets,
            device,
            blobs,
            emit,
            scratch=scratch,
            initial_weights=initial_weights,
            revision=revisions[-1].revision if revisions else 0,
            scoring=scoring,
            sharded=sharded,
        )
    except ReviewNeededError as error:
        group.part()
        clock.end()
        return ReviewMessage(str(error))
    group.part()
    if not group.leads:
        return None
    clock.stage("export", 0.92, "evaluation, ONNX, certificate and report")
    trained = Trained(
        assignment=assignment,
        data=data,
        targets=targets,
        teacher_cost=teacher_cost,
        point=point,
        dataset_sha256={role: store.get(assignment.tenant, dataset_id).sha256 for role, dataset_id in roles.items()},
        stage_seconds=clock.seconds(),
        scratch=scratch,
        resources=meter.taken(),
    )
    with tempfile.TemporaryDirectory(prefix="kdaif-bundle-") as folder:
        result = make_bundle(Path(folder), trained, blobs)
        publish_bundle(Path(folder), trained, blobs)
    clock.end()
    return SucceededMessage(result)


class _StageClock:
    """Tells where the attempt is, and keeps the seconds of each stage."""

    def __init__(self, emit: Callable[[ProgressMessage], None]) -> None:
        self._emit = emit
        self._starts: list[tuple[str, float]] = []
        self._span: Span | None = None

    def stage(self, name: str, fraction: float, message: str = "") -> None:
        give_memory_back()
        self.end()
        self._span = start_span(name)
        self._starts.append((name, time.monotonic()))
        self._emit(ProgressMessage(Progress(stage=name, fraction=fraction, message=message)))

    def end(self) -> None:
        """The stage at hand is over."""
        if self._span is not None:
            self._span.end()

    def seconds(self) -> dict[str, float]:
        """Of each stage that is over."""
        ends = [start for _, start in self._starts[1:]]
        return {name: end - start for (name, start), end in zip(self._starts, ends, strict=False)}


def _initial_weights(
    spec: DistillationSpec, data: DistillationData, files: Mapping[str, Path]
) -> dict[str, torch.Tensor] | None:
    if "initial_weights" not in files:
        return None
    rows = data.unlabeled.features[:1]
    student = build_student(spec.student, data.signature, len(data.class_names), rows, spec.training.seed)
    return read_initial_weights(files["initial_weights"], student)


def _is_worth_threads(spec: DistillationSpec, data: DistillationData) -> bool:
    """Not small work: waking threads for a batch that takes microseconds costs more than it gives.

    Measured on 2 cores: an MLP of 5,000 parameters trains as fast with one thread as with two, and 13 times slower with
    two when another process wants a core.
    """
    batch = data.unlabeled.features[: spec.training.batch_size]
    student = build_student(spec.student, data.signature, len(data.class_names), batch, spec.training.seed)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        student.eval()(torch.from_numpy(np.array(batch)))
    return int(counter.get_total_flops()) >= _FLOPS_WORTH_THREADS


def _device(wanted: str) -> torch.device:
    if wanted != "cpu" and torch.cuda.is_available() and Collective.of_this_process().size > 1:
        return torch.device("cuda", torch.cuda.current_device())  # each has been given its own, whatever a job names
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidDataError(
            f"spec.device is {wanted!r}, but this worker has {torch.cuda.device_count()} CUDA device(s). "
            "Use auto or cpu, or run a worker where the device is."
        )
    return device

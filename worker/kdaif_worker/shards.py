"""A large pool scored in shards by whoever is free: the job's process cuts it, and it or others score the pieces.

What a shard needs lies in the blob store under its own hash: the rows with their soft targets, once per job, and what
they are scored along, once per scoring. Scores are named by both hashes. So another attempt finds what is scored
already, and whoever scores needs neither the data sets nor the teacher.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from kdaif.datasets import DistillationData, InputSignature
from kdaif.errors import AlreadyExistsError, DataCorruptedError, NotFoundError, UnavailableError
from kdaif.influence import Along, ScoreSheet
from kdaif.records import DistillationSpec, Shard
from kdaif.rounds import ArmRows, row_loss_of
from kdaif.scratch import Scratch
from kdaif.store import BlobStore, layout
from kdaif.students import Standardisation, Student, build_student, taught_network
from kdaif.top_rows import RowNumbers, TopRows
from kdaif.workspace import Workspace
from kdaif_worker.messages import Assignment, ShardDoneMessage, ShardsMessage
from kdaif_worker.release import RELEASE
from kdaif_worker.tensor_files import read_tensors, write_tensors

Ask = Callable[[ShardsMessage | ShardDoneMessage], Shard | None]
"""Tells the supervisor, and waits for the next shard that this process is to score; None: all are scored."""

# The queue looks at each of them whenever it is asked how they stand.
_MOST_SHARDS = 1024
_TRIES = 3
_SIGNATURE = TypeAdapter(InputSignature)


class ShardedScoring:
    """Scores the rows of U in shards: a `PoolScoring`.

    Args:
        assignment: of the attempt, with the network that was chosen.
        data: of the job.
        blobs: where shards are put.
        scratch: of the rows.
        ask: the supervisor.
    """

    def __init__(
        self, assignment: Assignment, data: DistillationData, blobs: BlobStore, scratch: Scratch, ask: Ask
    ) -> None:
        self._assignment = assignment
        self._signature = data.signature
        self._blobs = blobs
        self._scratch = scratch
        self._ask = ask
        self._hashed: tuple[Tensor, dict[int, str]] | None = None
        self._former: list[str] = []

    def __call__(self, student: Student, rows: ArmRows, along: Along, sheet: ScoreSheet) -> None:
        """Has every row written into the sheet.

        Raises:
            UnavailableError: the blob store is full or does not answer, or lost what was put there.
        """
        runs = _runs(len(rows.features), along.rows_per_pass(rows.features), self._assignment.spec)
        if len(runs) == 1:
            along.write(sheet, rows.features, rows.teacher_log_targets, rows.workspace)
            return
        given, of_rows = self._assignment, self._rows_put(rows, runs)
        arrays, metadata = _along_parts(given.spec, self._signature, student, along)
        sha256 = self._put(lambda digest: layout.shard_along(given.tenant, given.job_id, digest), arrays, metadata)
        shards = tuple(
            Shard(given.job_id, number, len(runs), run.start, run.stop, sha256, of_rows[run.start])
            for number, run in enumerate(runs, start=1)
        )
        self._forget(layout.shard_along(given.tenant, given.job_id, sha256), *map(self._path, shards))
        for _ in range(_TRIES):
            there = {blob.path for blob in self._blobs.entries(layout.shards(given.tenant, given.job_id))}
            missing = tuple(shard for shard in shards if self._path(shard) not in there)
            if not missing:
                break
            own = self._ask(ShardsMessage(missing))
            while own is not None:
                self._score(own, rows, along)
                own = self._ask(ShardDoneMessage(own))
        for shard in shards:
            sheet.put(slice(shard.start, shard.stop), self._read(self._path(shard)))

    def _score(self, shard: Shard, rows: ArmRows, along: Along) -> None:
        some = slice(shard.start, shard.stop)
        sheet = _scored(along, rows.features[some], _some(rows.teacher_log_targets, some), rows.workspace)
        _put_scores(self._blobs, self._path(shard), sheet, rows.workspace.scratch)

    def _rows_put(self, rows: ArmRows, runs: list[slice]) -> dict[int, str]:
        """The hash of each run of rows by its first one, once all of them are in the store. Made once per arm."""
        if self._hashed is None or self._hashed[0] is not rows.features or self._hashed[1].keys() != _starts(runs):
            tenant, job_id = self._assignment.tenant, self._assignment.job_id
            found = {
                run.start: self._put(lambda digest: layout.shard_rows(tenant, job_id, digest), _row_arrays(rows, run))
                for run in runs
            }
            self._hashed = (rows.features, found)
        return self._hashed[1]

    def _put(
        self, path: Callable[[str], str], arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
    ) -> str:
        """Stores arrays under the hash of their file, unless they are there, and returns it."""
        with self._scratch.spooled() as file:
            write_tensors(file, arrays, metadata or {}, self._scratch)
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            if not self._blobs.exists(path(digest)):
                _store(self._blobs, path(digest), file)
        return digest

    def _forget(self, *paths: str) -> None:
        """Drops what the scoring before this one left: whoever goes on from a checkpoint is past it."""
        for former in set(self._former).difference(paths):
            self._blobs.delete(former)
        self._former = list(paths)

    def _path(self, shard: Shard) -> str:
        return layout.shard_scores(self._assignment.tenant, shard.job, shard.along, shard.rows)

    def _read(self, path: str) -> dict[str, NDArray[Any]]:
        try:
            return read_tensors(self._blobs.iter_range(path), self._blobs.size(path), self._scratch)[0]
        except ValueError as error:
            self._blobs.delete(path)
            raise UnavailableError(f"{path} was damaged ({error}) and is removed; another attempt scores it") from error
        except NotFoundError as error:
            raise UnavailableError(f"{path} is gone though its shard was scored: {error}") from error


def score_shard(assignment: Assignment, shard: Shard, blobs: BlobStore, scratch: Scratch, device: torch.device) -> None:
    """Scores a shard of another job, from the blob store into the blob store.

    A job that is over takes what it put there with it, and then nothing is put beside it any more.

    Raises:
        DataCorruptedError: what the job put there is gone, or was damaged and now is gone.
        UnavailableError: the store is full or does not answer.
    """
    tenant, path = assignment.tenant, layout.shard_scores(assignment.tenant, shard.job, shard.along, shard.rows)
    if blobs.exists(path):
        return
    scored_along = layout.shard_along(tenant, shard.job, shard.along)
    arrays, metadata = _verified(blobs, scored_along, scratch)
    head = json.loads(metadata["along"])
    torch.set_num_threads(assignment.threads or head["threads"])
    workspace = Workspace(device, scratch)
    along = _along(arrays, head, workspace)
    rows, _ = _verified(blobs, layout.shard_rows(tenant, shard.job, shard.rows), scratch)
    tensors = {name: torch.from_numpy(array) for name, array in rows.items()}
    top = TopRows.from_tensors(tensors, "log_targets", "logarithms", workspace)
    log_targets = workspace.moved(rows["log_targets"]) if top is None else top
    sheet = _scored(along, workspace.moved(rows["features"]), log_targets, workspace)
    if blobs.exists(scored_along):
        _put_scores(blobs, path, sheet, scratch)


def _scored(along: Along, features: Tensor, log_targets: RowNumbers, workspace: Workspace) -> ScoreSheet:
    sheet = along.sheet(len(features), log_targets, workspace)
    along.write(sheet, features, log_targets, workspace)
    return sheet


def _put_scores(blobs: BlobStore, path: str, sheet: ScoreSheet, scratch: Scratch) -> None:
    with scratch.spooled() as file:
        write_tensors(file, sheet.arrays, {}, scratch)
        _store(blobs, path, file)


def _store(blobs: BlobStore, path: str, file: IO[bytes]) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    with contextlib.suppress(AlreadyExistsError):  # somebody was faster, with the same
        blobs.put_stream(path, file, size)


def _verified(blobs: BlobStore, path: str, scratch: Scratch) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """What the job put there for its shards; the job's next attempt puts it there again where it is not."""
    try:
        return read_tensors(blobs.iter_range(path), blobs.size(path), scratch)
    except ValueError as error:
        blobs.delete(path)
        raise DataCorruptedError(f"{path} was damaged ({error}) and is removed") from error
    except NotFoundError as error:
        raise DataCorruptedError(f"{path} is gone: {error}") from error


def _runs(n_rows: int, rows_per_pass: int, spec: DistillationSpec) -> list[slice]:
    """Of whole passes, so that each row is worked on beside the very rows that it would be without shards."""
    wanted = max(spec.weighting.rows_per_shard, -(-n_rows // _MOST_SHARDS))
    step = -(-wanted // rows_per_pass) * rows_per_pass
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def _starts(runs: list[slice]) -> set[int]:
    return {run.start for run in runs}


def _some(log_targets: RowNumbers, rows: slice) -> RowNumbers:
    if not isinstance(log_targets, TopRows):
        return log_targets[rows]
    kept = log_targets
    return TopRows(kept.values[rows], kept.classes[rows], kept.rest[rows], kept.n_classes, kept.kind, kept.temperature)


def _row_arrays(rows: ArmRows, run: slice) -> dict[str, NDArray[Any]]:
    log_targets = _some(rows.teacher_log_targets, run)
    tensors = {"features": rows.features[run]}
    tensors |= log_targets.tensors("log_targets") if isinstance(log_targets, TopRows) else {"log_targets": log_targets}
    return {name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in tensors.items()}


def _along_parts(
    spec: DistillationSpec, signature: InputSignature, student: Student, along: Along
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    tensors = {f"student/{name}": tensor for name, tensor in student.state_dict().items()} | {"solved": along.solved}
    head = {
        "spec": spec.model_dump_json(),
        "signature": _SIGNATURE.dump_python(signature, mode="json"),
        "n_classes": along.n_classes,
        "two_heads": along.two_heads,
        "threads": torch.get_num_threads(),
        "release": RELEASE,  # another may score otherwise
    }
    arrays = {name: np.ascontiguousarray(tensor.detach().cpu().numpy()) for name, tensor in tensors.items()}
    return arrays, {"along": json.dumps(head, sort_keys=True)}


def _along(arrays: Mapping[str, NDArray[Any]], head: Mapping[str, Any], workspace: Workspace) -> Along:
    spec = DistillationSpec.model_validate_json(head["spec"])
    signature = _SIGNATURE.validate_python(head["signature"])
    student = build_student(spec.student, signature, head["n_classes"], Standardisation.none(signature), seed=0)
    if head["two_heads"]:
        student.add_soft_head()
    prefix = "student/"
    student.load_state_dict(
        {name.removeprefix(prefix): torch.from_numpy(a) for name, a in arrays.items() if name.startswith(prefix)}
    )
    student.to(workspace.device).eval()
    return Along(
        taught_network(student),
        workspace.moved(arrays["solved"]),
        head["n_classes"],
        spec.training.temperature,
        two_heads=head["two_heads"],
        row_loss=row_loss_of(spec.training),
    )

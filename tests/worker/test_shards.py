"""A scoring cut into shards: the very scores of one that is not, whoever scores which, and none of it scored twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kdaif_worker import arms
from kdaif_worker.messages import Assignment, ShardDoneMessage, ShardsMessage
from kdaif_worker.shards import ShardedScoring, score_shard
from numpy.typing import NDArray

from kdaif.datasets import InputSignature
from kdaif.distillation import LabeledRows
from kdaif.errors import DataCorruptedError, UnavailableError
from kdaif.influence import Along, ScoreSheet, along
from kdaif.records import DistillationSpec, Network, Shard, Training, Weighting
from kdaif.rounds import ArmRows, row_loss_of
from kdaif.rounds.arm_rows import HeldOut
from kdaif.scratch import Scratch
from kdaif.store import BlobStore, delete_shards, layout
from kdaif.students import Standardisation, Student, build_student, taught_network
from kdaif.top_rows import RowNumbers, TopRows
from kdaif.workspace import Workspace
from tests.kdaif.inputs import ARCHITECTURES, rows_of
from tests.kdaif.rounds.test_train_arm import wrong_targets
from tests.worker.test_arms import DATA, assignment

CPU = torch.device("cpu")
ROWS, CLASSES, BLOCKS, PASS = 200, 3, 2, 32


class Supervisor:
    """Gives every other shard to another worker, which scores it at once, and keeps count."""

    def __init__(self, given: Assignment, blobs: BlobStore, *, others: bool = True) -> None:
        self.given, self.blobs, self.others = given, blobs, others
        self.left: list[Shard] = []
        self.own: list[Shard] = []
        self.elsewhere: list[Shard] = []
        self.cuts: list[int] = []

    def ask(self, message: ShardsMessage | ShardDoneMessage) -> Shard | None:
        if isinstance(message, ShardsMessage):
            self.left = list(message.shards)
            self.cuts.append(len(self.left))
        if self.others and len(self.left) > 1:
            self.elsewhere.append(self.left.pop(0))
            score_shard(self.given, self.elsewhere[-1], self.blobs, Scratch(), CPU)
        if not self.left:
            return None
        self.own.append(self.left.pop(0))
        return self.own[-1]


def spec_of(network: Network, **training: Any) -> DistillationSpec:
    return DistillationSpec(
        labeled="a" * 32,
        unlabeled="b" * 32,
        student=network,
        training=Training(**training),
        weighting=Weighting(solver="cg", rows_per_shard=50),
    )


def arm_rows(features: NDArray[Any], log_targets: RowNumbers) -> ArmRows:
    nothing = torch.zeros(0)
    return ArmRows(
        labeled=LabeledRows(nothing, nothing, np.zeros(0)),
        validation=HeldOut(nothing, nothing),
        features=torch.from_numpy(features),
        teacher_log_targets=log_targets,
        temperature=2.0,
        pseudo_labels=np.zeros(0, np.int64),
        pseudo_label_codes=nothing,
        wrong=None,
        truth_known=np.zeros(0, np.bool_),
        ids=np.zeros(0, np.int64),
        weight_override=None,
        workspace=Workspace(CPU),
    )


def whole(path: Along, rows: ArmRows) -> dict[str, NDArray[Any]]:
    sheet = path.sheet(len(rows.features), rows.teacher_log_targets, rows.workspace)
    path.write(sheet, rows.features, rows.teacher_log_targets, rows.workspace)
    return sheet.arrays


def in_shards(scoring: ShardedScoring, student: Student, path: Along, rows: ArmRows) -> dict[str, NDArray[Any]]:
    sheet: ScoreSheet = path.sheet(len(rows.features), rows.teacher_log_targets, rows.workspace)
    for array in sheet.arrays.values():
        array.fill(77)
    scoring(student, rows, path, sheet)
    return sheet.arrays


def same(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> bool:
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def prepared(
    folder: Path,
    network: Network,
    signature: InputSignature,
    *,
    of_head: bool = False,
    two_heads: bool = False,
    log_targets: RowNumbers | None = None,
    n_classes: int = CLASSES,
    **training: Any,
) -> tuple[ShardedScoring, Supervisor, Student, Along, ArmRows]:
    torch.manual_seed(0)
    blobs, spec = BlobStore.open(f"file://{folder}/blobs"), spec_of(network, **training)
    given = Assignment("default", "j1", 1, "", spec, "", folder, None)
    reference = Standardisation.none(signature)
    student = build_student(spec.student, signature, n_classes, reference, seed=5).eval()
    if two_heads:
        student.add_soft_head()
    theta = sum(parameter.numel() for parameter in taught_network(student).parameters())
    of_last = (BLOCKS, n_classes, student.head.in_features + 1)
    path = Along(
        taught_network(student),
        torch.randn(of_last) if of_head else torch.randn(BLOCKS, theta),
        n_classes,
        spec.training.temperature,
        two_heads=two_heads,
        row_loss=row_loss_of(spec.training),
    )
    targets = torch.randn(ROWS, n_classes).log_softmax(dim=1) if log_targets is None else log_targets
    rows = arm_rows(rows_of(signature, ROWS), targets)
    supervisor = Supervisor(given, blobs)
    only: Any = type("Data", (), {"signature": signature})
    return ShardedScoring(given, only, blobs, Scratch(), supervisor.ask), supervisor, student, path, rows


@pytest.fixture(autouse=True)
def _short_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(along, "_ROWS_PER_PASS", PASS)
    monkeypatch.setattr(along, "_HEAD_ROWS_PER_FORWARD_PASS", PASS)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("of_head", [False, True])
def test_the_scores_are_those_of_a_whole_pool(tmp_path: Path, name: str, of_head: bool) -> None:
    network, signature = ARCHITECTURES[name]
    scoring, supervisor, student, path, rows = prepared(tmp_path, network, signature, of_head=of_head)
    assert same(in_shards(scoring, student, path, rows), whole(path, rows))
    sizes = [shard.stop - shard.start for shard in sorted(supervisor.own + supervisor.elsewhere, key=lambda s: s.start)]
    assert sizes == [64, 64, 64, 8]
    assert len(supervisor.elsewhere) == 2


@pytest.mark.parametrize(
    "given",
    [
        {"two_heads": True, "dual_head": True},
        {"loss": "reverse_kl"},
        {"loss": "dkd", "standardise_logits": True},
        {"temperature": 1.0},
    ],
)
def test_of_two_heads_and_of_every_loss_too(tmp_path: Path, given: dict[str, Any]) -> None:
    scoring, _, student, path, rows = prepared(tmp_path, *ARCHITECTURES["mlp"], **given)
    assert same(in_shards(scoring, student, path, rows), whole(path, rows))


def test_of_very_many_classes_too(tmp_path: Path) -> None:
    n_classes = 300
    kept = TopRows.empty(ROWS, n_classes, "logarithms", 2.0, Workspace(CPU))
    kept[slice(0, ROWS)] = torch.randn(ROWS, n_classes, generator=torch.manual_seed(1)).log_softmax(dim=1)
    network, signature = ARCHITECTURES["mlp"]
    scoring, _, student, path, rows = prepared(tmp_path, network, signature, log_targets=kept, n_classes=n_classes)
    assert same(in_shards(scoring, student, path, rows), whole(path, rows))


def test_another_attempt_finds_what_is_scored(tmp_path: Path) -> None:
    scoring, supervisor, student, path, rows = prepared(tmp_path, *ARCHITECTURES["mlp"])
    first = in_shards(scoring, student, path, rows)
    blobs = supervisor.blobs
    lost = layout.shard_scores("default", "j1", supervisor.own[0].along, supervisor.own[0].rows)
    blobs.delete(lost)
    next_scoring, next_supervisor, *_ = prepared(tmp_path, *ARCHITECTURES["mlp"])
    next_supervisor.others = False
    assert same(in_shards(next_scoring, student, path, rows), first)
    assert next_supervisor.own == [supervisor.own[0]]
    third, third_supervisor, *_ = prepared(tmp_path, *ARCHITECTURES["mlp"])
    assert same(in_shards(third, student, path, rows), first)
    assert third_supervisor.cuts == []


def test_the_next_scoring_drops_the_last_ones_scores_and_keeps_the_rows(tmp_path: Path) -> None:
    scoring, supervisor, student, path, rows = prepared(tmp_path, *ARCHITECTURES["mlp"])
    in_shards(scoring, student, path, rows)
    before = set(supervisor.blobs.list(layout.shards("default", "j1")))
    path.solved.mul_(2)
    assert same(in_shards(scoring, student, path, rows), whole(path, rows))
    after = set(supervisor.blobs.list(layout.shards("default", "j1")))
    assert supervisor.cuts == [4, 4]
    assert len(before) == len(after) == 9
    assert {Path(blob).name.partition("-")[0] for blob in before & after} == {"rows"}
    assert len(before & after) == 4


def test_a_pool_of_one_shard_is_not_cut(tmp_path: Path) -> None:
    scoring, supervisor, student, path, rows = prepared(tmp_path, *ARCHITECTURES["mlp"])
    few = arm_rows(rows.features[:60].numpy(), torch.as_tensor(rows.teacher_log_targets[slice(0, 60)]))
    assert same(in_shards(scoring, student, path, few), whole(path, few))
    assert supervisor.cuts == []
    assert supervisor.blobs.list(layout.shards("default", "j1")) == []


def test_damage_is_found_and_the_next_attempt_mends_it(tmp_path: Path) -> None:
    scoring, supervisor, student, path, rows = prepared(tmp_path, *ARCHITECTURES["mlp"])
    first = in_shards(scoring, student, path, rows)
    shard, blobs = supervisor.own[0], supervisor.blobs
    scores = layout.shard_scores("default", "j1", shard.along, shard.rows)
    blobs.replace_bytes(scores, blobs.get_bytes(scores)[:-4] + b"\0\0\0\1")
    with pytest.raises(UnavailableError, match="was damaged"):
        in_shards(scoring, student, path, rows)
    assert same(in_shards(scoring, student, path, rows), first)
    for given in (layout.shard_along("default", "j1", shard.along), layout.shard_rows("default", "j1", shard.rows)):
        blobs.delete(scores)
        whole_file = blobs.get_bytes(given)
        blobs.replace_bytes(given, whole_file[:-4] + b"\0\0\0\1")
        for what in ("was damaged", "is gone"):
            with pytest.raises(DataCorruptedError, match=what):
                score_shard(supervisor.given, shard, blobs, Scratch(), CPU)
        again, *_ = prepared(tmp_path, *ARCHITECTURES["mlp"])
        assert same(in_shards(again, student, path, rows), first)
        assert blobs.get_bytes(given) == whole_file


def test_nothing_is_put_beside_what_a_job_that_is_over_has_taken_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scoring, supervisor, student, path, rows = prepared(tmp_path, *ARCHITECTURES["mlp"])
    in_shards(scoring, student, path, rows)
    shard, blobs = supervisor.elsewhere[0], supervisor.blobs
    blobs.delete(layout.shard_scores("default", "j1", shard.along, shard.rows))
    write = Along.write

    def while_the_job_ends(*args: Any) -> None:
        write(*args)
        delete_shards(blobs, "default", "j1")

    monkeypatch.setattr(Along, "write", while_the_job_ends)
    score_shard(supervisor.given, shard, blobs, Scratch(), CPU)
    assert blobs.list(layout.shards("default", "j1")) == []


def test_scores_that_never_come_end_the_attempt_and_not_the_job(tmp_path: Path) -> None:
    _, supervisor, student, path, rows = prepared(tmp_path, *ARCHITECTURES["mlp"])
    asked: list[ShardsMessage | ShardDoneMessage] = []
    lost = ShardedScoring(
        supervisor.given,
        type("Data", (), {"signature": ARCHITECTURES["mlp"][1]}),  # type: ignore[arg-type]
        supervisor.blobs,
        Scratch(),
        lambda message: asked.append(message),
    )
    with pytest.raises(UnavailableError, match="is gone though"):
        in_shards(lost, student, path, rows)
    assert len(asked) == 3


@pytest.mark.parametrize("solver", ["cg", "ekfac", "head"])
def test_an_arm_in_shards_makes_the_student_and_the_weights_of_one_that_is_not(tmp_path: Path, solver: str) -> None:
    made = {}
    for rows_per_shard in (0, 40):
        folder = tmp_path / str(rows_per_shard)
        blobs, given = BlobStore.open(f"file://{folder}/blobs"), assignment(folder, rounds=3)
        weighting = given.spec.weighting.model_copy(
            update={"solver": solver, "rows_per_shard": rows_per_shard, "canary_bar": 0.01}
        )
        spec = given.spec.model_copy(update={"weighting": weighting})
        given = Assignment("default", "j1", 1, "", spec, "", folder, None)
        supervisor = Supervisor(given, blobs)
        scoring = ShardedScoring(given, DATA, blobs, Scratch(), supervisor.ask) if rows_per_shard else None
        point = arms.train_all(given, DATA, wrong_targets(DATA, 0.5), CPU, blobs, lambda _: None, scoring=scoring)
        made[rows_per_shard] = [blobs.get_bytes(shard.path) for shard in point.shards]
        assert bool(supervisor.cuts) is bool(rows_per_shard)
    assert made[0] == made[40]
    assert len(made[0]) > 1

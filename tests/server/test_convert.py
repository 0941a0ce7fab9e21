import pytest
from hypothesis import given
from hypothesis import strategies as st
from kdaif_proto.v1 import jobs_pb2, spec_pb2
from kdaif_server._convert import job_to_proto, spec_from_proto, spec_to_proto, state_from_proto, state_to_proto

from kdaif.errors import FailureReason, InvalidInputError
from kdaif.records import (
    Activation,
    Auto,
    Bag,
    BatchNorm,
    Checks,
    Cnn,
    ColumnTeacher,
    Conv,
    DistillationSpec,
    Dropout,
    EnsembleTeacher,
    Failure,
    Inputs,
    Job,
    JobResult,
    JobState,
    Layers,
    Linear,
    Mlp,
    Mobilenet,
    OnnxTeacher,
    PlantedNoise,
    Pool,
    PreflightReport,
    Resnet,
    Scheduling,
    Splits,
    Teacher,
    TextEncoder,
    TrainedTeacher,
    Training,
    TransformerTeacher,
    Weighting,
)

LABELED, UNLABELED, OTHER = "a" * 32, "b" * 32, "c" * 32


def message(**fields: object) -> spec_pb2.DistillationSpec:
    return spec_pb2.DistillationSpec(
        labeled=f"tenants/default/datasets/{LABELED}", unlabeled=f"tenants/default/datasets/{UNLABELED}", **fields
    )


def violations(spec: spec_pb2.DistillationSpec) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        spec_from_proto(spec, "default")
    return {violation.field: violation.description for violation in caught.value.violations}


def test_what_is_left_out_takes_the_default() -> None:
    assert spec_from_proto(message(), "default") == DistillationSpec(labeled=LABELED, unlabeled=UNLABELED)


def test_an_explicit_zero_is_not_a_default() -> None:
    spec = spec_from_proto(message(training=spec_pb2.Training(hard_label_weight=0.0)), "default")
    assert spec.training.hard_label_weight == 0.0


layers = st.one_of(
    st.builds(Linear, width=st.integers(1, 9)),
    st.builds(Conv, channels=st.integers(1, 9), kernel_size=st.sampled_from([1, 3])),
    st.builds(BatchNorm),
    st.builds(Activation, function=st.sampled_from(["relu", "gelu", "silu"])),
    st.builds(Pool, function=st.sampled_from(["max", "mean"]), size=st.integers(2, 4)),
    st.builds(Dropout, share=st.floats(0.01, 0.5)),
)
architectures = st.one_of(
    st.builds(Mlp, hidden_sizes=st.lists(st.integers(1, 64), min_size=1, max_size=3).map(tuple)),
    st.builds(Cnn, channels=st.lists(st.integers(1, 64), min_size=1, max_size=3).map(tuple), dropout=st.just(0.5)),
    st.builds(Resnet, blocks_per_stage=st.integers(1, 3)),
    st.builds(Mobilenet, expansion=st.integers(1, 6)),
    st.builds(Bag, pair_buckets=st.integers(0, 99), hidden_sizes=st.just(()) | st.just((8, 4))),
    st.builds(TextEncoder, depth=st.integers(1, 3)),
    st.builds(Layers, layers=st.lists(layers, min_size=1, max_size=4).map(tuple)),
)
members = st.one_of(
    st.builds(TrainedTeacher, architecture=st.none() | architectures, epochs=st.integers(1, 50)),
    st.builds(
        ColumnTeacher,
        dataset=st.none() | st.just(OTHER),
        outputs=st.sampled_from(["logits", "probabilities", "label"]),
        class_names=st.just(("a", "b")),
    ),
    st.builds(ColumnTeacher, outputs=st.just("label"), label_smoothing=st.floats(0, 0.5)),
    st.builds(
        OnnxTeacher,
        model=st.just(OTHER),
        outputs=st.sampled_from(["logits", "probabilities"]),
        class_names=st.just(("a", "b")),
        input=st.none() | st.just("x"),
        layout=st.sampled_from([None, "nhwc", "nchw"]),
        scale=st.none() | st.floats(0.5, 2),
        mean=st.just(()) | st.just((0.5, 0.25)),
    ),
    st.builds(TransformerTeacher, model=st.just(OTHER), pooling=st.sampled_from(["mean", "cls"])),
)
sources = members | st.builds(
    EnsembleTeacher,
    members=st.lists(members, min_size=2, max_size=3).map(tuple),
    combine=st.sampled_from(["mean", "by_validation"]),
)
noises = st.none() | st.builds(
    PlantedNoise, kind=st.sampled_from(["class_swap", "symmetric"]), share=st.floats(0, 1, allow_nan=False)
)
specs = st.builds(
    DistillationSpec,
    labeled=st.just(LABELED),
    unlabeled=st.just(UNLABELED),
    validation=st.none() | st.just(OTHER),
    external=st.none() | st.just(OTHER),
    class_names=st.none() | st.just(("x", "y")),
    teacher=st.builds(Teacher, source=sources, planted_noise=noises),
    student=architectures | st.builds(Auto, max_kb=st.none() | st.floats(1, 99)),
    initial_weights=st.none() | st.just(OTHER),
    inputs=st.builds(
        Inputs,
        categorical_columns=st.just(()) | st.just(("a", "b")),
        max_tokens=st.integers(1, 99),
        lower_case=st.booleans(),
        image_height=st.just(32),
        image_width=st.just(32),
    ),
    checks=st.builds(Checks, max_rejected_share=st.floats(0, 1)),
    training=st.builds(
        Training,
        seed=st.integers(0, 9),
        temperature=st.floats(0.5, 9),
        loss=st.sampled_from(["forward_kl", "reverse_kl", "symmetric_kl", "dkd"]),
        dkd_alpha=st.floats(0.5, 2),
        dkd_beta=st.floats(0, 9),
        standardise_logits=st.booleans(),
        schedule=st.sampled_from(["constant", "cosine"]),
        ema_decay=st.none() | st.floats(0.1, 0.9),
        class_balanced=st.booleans(),
        patience_rounds=st.none() | st.integers(1, 9),
    ),
    weighting=st.builds(
        Weighting,
        method=st.sampled_from(["influence", "uniform"]),
        target=st.sampled_from(["keep", "blend"]),
        solver=st.sampled_from(["cg", "ekfac", "head"]),
        damping=st.none() | st.floats(1e-6, 1),
        canary_bar=st.just(0.0) | st.floats(0, 1),
    ),
    control_arms=st.none() | st.just(("uniform", "oracle")),
    splits=st.builds(Splits, gate_share=st.floats(0.1, 0.9)),
)


@given(specs)
def test_a_spec_survives_the_wire(spec: DistillationSpec) -> None:
    sent = spec_to_proto(spec, "default")
    assert spec_from_proto(spec_pb2.DistillationSpec.FromString(sent.SerializeToString()), "default") == spec


def test_d10_temperature_zero_names_its_field() -> None:
    found = violations(message(training=spec_pb2.Training(temperature=0.0)))
    assert list(found) == ["spec.training.temperature"]
    assert "greater than 0" in found["spec.training.temperature"]


def test_two_heads_survive_the_wire_with_a_solver_that_sees_both() -> None:
    training, weighting = spec_pb2.Training(dual_head=True), spec_pb2.Weighting(solver=spec_pb2.Weighting.SOLVER_CG)
    spec = spec_from_proto(message(training=training, weighting=weighting), "default")
    assert (spec.training.dual_head, spec.weighting.solver) == (True, "cg")
    assert spec_from_proto(spec_to_proto(spec, "default"), "default") == spec


def test_two_heads_and_the_default_solver_are_refused_with_the_way_out() -> None:
    found = violations(message(training=spec_pb2.Training(dual_head=True)))
    assert list(found) == ["spec"]
    assert "set weighting.solver to 'cg' or 'ekfac', or weighting.method to 'uniform'" in found["spec"]
    no_labels = spec_pb2.Training(dual_head=True, hard_label_weight=0.0)
    assert list(violations(message(training=no_labels))) == ["spec.training"]


def test_d10_temperature_300_names_its_field() -> None:
    assert list(violations(message(training=spec_pb2.Training(temperature=300.0)))) == ["spec.training.temperature"]


def test_a_dropout_that_drops_nothing_is_refused() -> None:
    nothing = spec_pb2.Layers(layers=[spec_pb2.Layers.Layer(dropout=spec_pb2.Layers.Dropout(share=0.0))])
    found = violations(message(student=spec_pb2.Architecture(layers=nothing)))
    assert "spec.student.layers.layers[0].dropout.share" in found


def test_all_wrong_fields_are_named_at_once_in_the_proto_s_words() -> None:
    teacher = spec_pb2.Teacher(column=spec_pb2.ColumnTeacher(outputs="OUTPUTS_LOGITS", class_names=["a"]))
    found = violations(
        message(
            teacher=teacher,
            student=spec_pb2.Architecture(mlp=spec_pb2.Mlp(hidden_sizes=[4, -1])),
            training=spec_pb2.Training(rounds=0),
        )
    )
    assert set(found) == {
        "spec.teacher.column.class_names",
        "spec.student.mlp.hidden_sizes[1]",
        "spec.training.rounds",
    }


def test_a_missing_data_set_is_named() -> None:
    assert "spec.unlabeled" in violations(spec_pb2.DistillationSpec(labeled=f"tenants/default/datasets/{LABELED}"))


def test_another_tenant_s_data_set_is_refused() -> None:
    found = violations(message(validation=f"tenants/other/datasets/{OTHER}"))
    assert "another tenant" in found["spec.validation"]


def test_an_enum_value_from_the_future_is_refused() -> None:
    found = violations(message(weighting=spec_pb2.Weighting(method=99)))
    assert list(found) == ["spec.weighting.method"]


@pytest.mark.parametrize("figure", [None, 0.0, 0.25])
def test_the_canary_check_and_the_shipped_arm_survive_the_wire(figure: float | None) -> None:
    result = JobResult(
        1, (), "verdict", 1.0, shipped_arm="uniform", canary="failed", canary_auroc=figure, canary_stderr=figure
    )
    spec = DistillationSpec(labeled=LABELED, unlabeled=UNLABELED)
    job = Job("default", "j", JobState.SUCCEEDED, spec, PreflightReport(), 1, result=result)
    sent = job_to_proto(job).result
    assert (sent.shipped_arm, sent.canary) == ("uniform", "failed")
    # An AUROC of 0 is the worst of all, and not the same as none.
    assert sent.HasField("canary_auroc") is sent.HasField("canary_stderr") is (figure is not None)
    assert sent.canary_auroc == (figure or 0.0)


def test_a_bar_of_zero_is_sent_and_one_above_one_refused() -> None:
    off = spec_from_proto(message(weighting=spec_pb2.Weighting(canary_bar=0.0)), "default")
    assert off.weighting.canary_bar == 0.0
    assert list(violations(message(weighting=spec_pb2.Weighting(canary_bar=1.5)))) == ["spec.weighting.canary_bar"]


def test_scheduling_survives_the_wire_and_is_refused_by_field() -> None:
    given = spec_pb2.Scheduling(priority=-100, gpus=2, worker_labels=["eu", "gpu=a100"], deadline_s=60)
    spec = spec_from_proto(message(scheduling=given), "default")
    assert spec.scheduling == Scheduling(priority=-100, gpus=2, worker_labels=("eu", "gpu=a100"), deadline_s=60)
    assert spec_to_proto(spec, "default").scheduling == given
    wrong = spec_pb2.Scheduling(priority=101, gpus=-1, worker_labels=["a|b"], deadline_s=0)
    assert set(violations(message(scheduling=wrong))) == {
        "spec.scheduling.priority",
        "spec.scheduling.gpus",
        "spec.scheduling.worker_labels[0]",
        "spec.scheduling.deadline_s",
    }


def test_the_export_survives_the_wire_and_is_refused_by_field() -> None:
    given = spec_pb2.Export(
        variants=["int8"],
        min_runtime="1.16",
        max_class_drop_points=0.0,
        min_agreement=0.5,
        min_gain=0.0,
        max_slowdown=0.0,
        max_kb=20.0,
        max_ms=0.5,
    )
    assert spec_to_proto(spec_from_proto(message(export=given), "default"), "default").export == given
    wrong = spec_pb2.Export(variants=["int4"], min_runtime="1.12", min_agreement=1.5, max_kb=0.0)
    found = violations(message(export=wrong))
    assert set(found) == {
        "spec.export.variants[0]",
        "spec.export.min_runtime",
        "spec.export.min_agreement",
        "spec.export.max_kb",
    }
    assert "give 1.15 or newer" in str(found["spec.export.min_runtime"])


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_has_its_number_and_comes_back(state: JobState) -> None:
    assert state_from_proto(state_to_proto(state)) is state


@pytest.mark.parametrize("reason", list(FailureReason))
def test_every_reason_and_the_log_survive_the_wire(reason: FailureReason) -> None:
    spec = DistillationSpec(labeled=LABELED, unlabeled=UNLABELED)
    failure = Failure(reason, "m", retryable=False, attempt=2, log_tail="Killed")
    job = Job("t", "j", JobState.FAILED, spec, PreflightReport(), 1, failure=failure, worker="w", deadline_at_ms=5000)
    sent = job_to_proto(job)
    assert jobs_pb2.FailureReason.Name(sent.failure.reason) == f"FAILURE_REASON_{reason}"
    assert (sent.failure.log_tail, sent.worker, sent.deadline_time.seconds) == ("Killed", "w", 5)


def test_training_choices_out_of_range_name_their_fields() -> None:
    training = spec_pb2.Training(loss=99, schedule=99, ema_decay=1.0, patience_rounds=0)
    assert set(violations(message(training=training))) == {
        f"spec.training.{name}" for name in ("loss", "schedule", "ema_decay", "patience_rounds")
    }


def test_a_decoupled_loss_without_weights_is_refused() -> None:
    training = spec_pb2.Training(loss=spec_pb2.Training.LOSS_DKD, dkd_alpha=0.0, dkd_beta=0.0)
    assert "dkd_alpha and dkd_beta" in violations(message(training=training))["spec.training"]

"""Submitting, following and asking, over a real connection."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from kdaif_client import (
    Client,
    Job,
    JobFailed,
    JobState,
    Mlp,
)
from kdaif_client._rpc import Rpc
from kdaif_client.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServerError,
    Unavailable,
    WaitTimeout,
)
from kdaif_proto.v1 import jobs_pb2 as jb
from kdaif_proto.v1 import weights_pb2 as wt

from tests.client.small_server import SmallServer
from tests.client.small_state import PARENT, State

L, U = "1" * 32, "2" * 32
JOB = f"{PARENT}/distillationJobs/j1"


@pytest.fixture
def job(server: SmallServer, client: Client) -> Job:
    server.state.add_job("j1")
    return client.get_job("j1")


def play(state: State, last: jb.JobState.ValueType = jb.JOB_STATE_SUCCEEDED) -> None:
    state.tell(JOB, "queued", jb.JOB_STATE_QUEUED)
    state.tell(JOB, "claimed", jb.JOB_STATE_RUNNING)
    for number in (1, 2):
        progress = jb.DistillationJob.Progress(
            stage="distil", arm="influence", round=number, rounds=2, fraction=number / 4
        )
        state.tell(JOB, "round", jb.JOB_STATE_RUNNING, progress=progress, metrics={"validation_accuracy": 0.9})
    if last == jb.JOB_STATE_SUCCEEDED:
        state.jobs[JOB].result.student = f"{PARENT}/students/j1"
        state.jobs[JOB].result.verdict = "Weighting helped."
        state.jobs[JOB].result.shipped_arm, state.jobs[JOB].result.canary_auroc = "influence", 0.0
        state.jobs[JOB].result.arms.append(jb.ArmResult(arm="uniform", accuracy=0.9, accuracy_per_seed=[0.9]))
        state.tell(JOB, "finished", last)
    else:
        failure = jb.DistillationJob.Failure(
            reason=jb.FAILURE_REASON_OUT_OF_MEMORY, message="batch_size 65536 needs 90 GiB", attempt=1
        )
        state.jobs[JOB].failure.CopyFrom(failure)
        state.tell(JOB, "finished", last, failure=failure)


def test_q7_the_same_request_is_the_same_job(client: Client) -> None:
    first = client.submit(L, U, request_id="nightly")
    assert client.submit(L, U, request_id="nightly").name == first.name
    with pytest.raises(AlreadyExists):
        client.submit(L, U, request_id="nightly", student=Mlp((3,)))
    assert client.submit(L, U).name != client.submit(L, U).name


def test_validate_only_returns_findings_and_queues_nothing(client: Client) -> None:
    (finding,) = client.submit(L, U, validate_only=True)
    assert str(finding) == (
        "WARNING NON_FINITE_FEATURES at spec.unlabeled: rows with NaN are left out [12 rows: pool-000003, ...]"
    )
    assert list(client.list_jobs()) == []


def test_an_unavailable_server_is_asked_again(server: SmallServer, client: Client) -> None:
    server.state.unavailable.update({"CreateDistillationJob": 2, "GetDistillationJob": 2})
    job = client.submit(L, U)
    assert server.state.calls["CreateDistillationJob"] == 3
    job.refresh()
    assert len(list(client.list_jobs())) == 1


def test_a_call_that_must_not_be_repeated_is_not(server: SmallServer, client: Client, job: Job) -> None:
    server.state.unavailable["RetryDistillationJob"] = 1
    with pytest.raises(Unavailable):
        job.retry()
    assert server.state.calls["RetryDistillationJob"] == 1


def test_a_rate_limit_is_waited_out_for_any_call(server: SmallServer, client: Client, job: Job) -> None:
    server.state.limited.update({"GetDistillationJob": 1, "RetryDistillationJob": 1})
    started = time.monotonic()
    job.refresh()
    job.retry()
    assert time.monotonic() - started >= 2 * server.state.limited_s
    assert server.state.calls["RetryDistillationJob"] == 2


def test_a_rate_limit_is_waited_out_by_streams_too(server: SmallServer, client: Client, job: Job) -> None:
    server.state.limited.update({"WriteDataset": 1, "WatchDistillationJob": 1})
    assert client.upload_dataset({"x": [1.0]}, name="one").name in server.state.datasets
    play(server.state)
    assert [event.sequence for event in job.watch()] == [1, 2, 3, 4, 5]


def test_a_rate_limit_beyond_the_deadline_is_told(server: SmallServer, client: Client, job: Job) -> None:
    server.state.limited["GetDistillationJob"], server.state.limited_s = 1, 3600.0
    with pytest.raises(ResourceExhausted, match="too many calls") as caught:
        job.refresh()
    assert caught.value.retry_after_s == 3600.0


def test_a_call_waits_for_a_server_that_it_knows(server: SmallServer, client: Client, job: Job) -> None:
    server.stop()
    back = threading.Timer(4.0, server.start)  # longer than a stranger is waited for
    back.start()
    assert job.refresh().state is JobState.QUEUED
    back.join()


def test_a_call_that_never_left_is_sent_again_whatever_it_does(server: SmallServer, client: Client, job: Job) -> None:
    server.stop()
    back = threading.Timer(1.0, server.start)
    back.start()
    job.retry()
    back.join()
    assert server.state.calls["RetryDistillationJob"] == 1


def test_a_submit_that_gives_up_says_how_to_repeat_it() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(Unavailable, match="request_id='nightly'"):
        client.submit(L, U, request_id="nightly")


def test_errors_that_are_not_of_a_kdaif_server(server: SmallServer) -> None:
    rpc = Rpc(server.target, 5)
    method = rpc._channel.unary_unary("/kdaif.v1.Nothing/Here", jb.GetDistillationJobRequest.SerializeToString, bytes)
    with pytest.raises(ServerError, match="Is it a kdaif server as new as this client"):
        rpc.call(method, jb.GetDistillationJobRequest())
    rpc.close()
    with Client("nowhere.invalid:50051", timeout_s=20) as client, pytest.raises(Unavailable, match="does not resolve"):
        client.get_job("j1")


def test_a_silent_server_runs_into_the_deadline() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client(address, timeout_s=0.5) as client, pytest.raises((DeadlineExceeded, Unavailable)) as caught:
            client.get_job("j1")
    assert address in str(caught.value)


def test_jobs_are_listed_by_state_cancelled_and_retried(server: SmallServer, client: Client, job: Job) -> None:
    server.state.add_job("j2", jb.JOB_STATE_RUNNING)
    assert [each.state for each in client.list_jobs(states=["running"])] == [JobState.RUNNING]
    assert len(list(client.list_jobs(states=[JobState.RUNNING, JobState.QUEUED]))) == 2
    assert len(list(client.list_jobs(limit=1))) == 1
    with pytest.raises(InvalidArgument, match="'asleep'; choose from QUEUED"):
        client.list_jobs(states=["asleep"])
    assert job.cancel().state is JobState.CANCELLED
    assert job.retry().state is JobState.QUEUED
    with pytest.raises(NotFound, match="There is no job"):
        client.get_job("j9")


def test_a_reviewed_job_is_resumed_rejected_and_deleted(server: SmallServer, client: Client, job: Job) -> None:
    with pytest.raises(FailedPrecondition, match="awaits no review"):
        job.resume()
    server.state.jobs[job.name].state = jb.JOB_STATE_AWAITING_REVIEW
    server.state.jobs[job.name].failure.log_tail = "Traceback ..."
    assert job.refresh().state is JobState.AWAITING_REVIEW
    assert job.info.failure is not None
    assert job.info.failure.log_tail == "Traceback ..."
    assert not job.state.is_terminal
    assert job.resume().state is JobState.QUEUED
    server.state.jobs[job.name].state = jb.JOB_STATE_AWAITING_REVIEW
    rejected = job.reject("the canary is dead").info
    assert rejected.failure is not None
    assert (rejected.state, rejected.failure.reason) == (JobState.FAILED, "REVIEW")
    assert rejected.failure.message == "the canary is dead"
    job.delete()
    with pytest.raises(NotFound):
        job.refresh()


def test_watch_gives_every_event_and_ends(server: SmallServer, job: Job) -> None:
    thread = threading.Thread(target=play, args=(server.state,))
    thread.start()
    events = list(job.watch())
    thread.join()
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert [event.sequence for event in job.watch(after_sequence=3)] == [4, 5]
    assert list(job.watch(after_sequence=5)) == []
    assert job.state is JobState.SUCCEEDED
    told = str(events[3])
    assert "#4  round  distil · influence · round 2/2 (50%)  validation_accuracy=0.9" in told
    assert "\n" not in told
    assert str(events[4]).endswith("finished  SUCCEEDED")


def test_watch_goes_on_after_the_last_event_when_the_stream_breaks(server: SmallServer, job: Job) -> None:
    play(server.state)
    server.state.cut_watches = [2, 0, 1]
    assert [event.sequence for event in job.watch()] == [1, 2, 3, 4, 5]
    assert server.state.calls["WatchDistillationJob"] == 4


def test_watch_survives_a_restart_of_the_server(server: SmallServer, job: Job) -> None:
    server.state.tell(JOB, "queued", jb.JOB_STATE_QUEUED)
    events = job.watch()
    assert next(events).sequence == 1

    def restart() -> None:
        time.sleep(0.2)
        server.stop()
        time.sleep(1.0)
        server.start()
        server.state.tell(JOB, "finished", jb.JOB_STATE_CANCELLED)

    thread = threading.Thread(target=restart)
    thread.start()
    assert [event.sequence for event in events] == [2]
    thread.join()


def test_watch_gives_up_when_the_server_stays_away(server: SmallServer) -> None:
    server.state.add_job("j1")
    with Client(server.target, patience_s=0.5) as client:
        job = client.get_job("j1")
        threading.Timer(0.2, server.stop).start()
        with pytest.raises(Unavailable):
            list(job.watch())
    server.start()


def test_q10_a_quiet_watch_survives_its_own_pings(server: SmallServer) -> None:
    server.state.add_job("j1")
    rpc = Rpc(server.target, 10, keepalive_ms=600)
    request = jb.WatchDistillationJobRequest(name=JOB)
    threading.Timer(4.0, play, args=(server.state,)).start()
    with rpc.receive(rpc.jobs.WatchDistillationJob, request, timeout_s=30) as answers:
        assert [answer.event.sequence for answer in answers] == [1, 2, 3, 4, 5]
    rpc.close()
    assert server.state.calls["WatchDistillationJob"] == 1


def test_leaving_a_watch_ends_its_stream(server: SmallServer, job: Job) -> None:
    play(server.state)
    server.state.jobs[JOB].state = jb.JOB_STATE_RUNNING
    for event in job.watch():
        if event.sequence == 2:
            break
    assert job.refresh().state is JobState.RUNNING


def test_wait_returns_the_finished_job(server: SmallServer, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FailedPrecondition, match="QUEUED and has no result yet"):
        _ = job.result
    threading.Timer(0.2, play, args=(server.state,)).start()
    assert job.wait(progress=True) is job
    assert job.result.verdict == "Weighting helped."
    assert job.result.arms[0].p_value is None
    assert (job.result.shipped_arm, job.result.canary_auroc, job.result.canary_stderr) == ("influence", 0.0, None)
    out, err = capsys.readouterr()
    assert out == ""
    assert "SUCCEEDED" in err


def test_wait_raises_what_failed(server: SmallServer, job: Job) -> None:
    play(server.state, jb.JOB_STATE_FAILED)
    with pytest.raises(JobFailed) as caught:
        job.wait()
    assert (caught.value.state, caught.value.reason) == ("FAILED", "OUT_OF_MEMORY")
    assert str(caught.value) == f"Job {JOB} ended FAILED (OUT_OF_MEMORY): batch_size 65536 needs 90 GiB"
    with pytest.raises(JobFailed):
        _ = job.result


def test_wait_gives_up_in_time(job: Job) -> None:
    started = time.monotonic()
    with pytest.raises(WaitTimeout, match="goes on") as caught:
        job.wait(timeout_s=0.5)
    assert isinstance(caught.value, TimeoutError)
    assert 0.4 < time.monotonic() - started < 3


@pytest.fixture
def weighted(server: SmallServer, job: Job) -> Job:
    n = 25_000
    server.state.weights = wt.SampleWeights(
        round=8,
        ids=[f"u-{i:05d}" for i in range(n)],
        pseudo_label=["cat"] * n,
        student_label=["dog"] * n,
        truth=["owl", *[""] * (n - 1)],
        weight_override=[*[float("nan")] * (n - 1), 2.5],
        **{  # type: ignore[arg-type]
            name: [i / n for i in range(n)]
            for name in (
                *("weight", "val_loss_change_if_upweighted", "stderr", "z_influence", "z_agreement", "log_odds"),
                *("teacher_confidence", "student_confidence", "distillation_loss"),
            )
        },
    )
    return job


def test_weights_page_by_page(server: SmallServer, weighted: Job) -> None:
    everything = list(weighted.weights())
    assert len(everything) == 25_000
    assert server.state.calls["ListSampleWeights"] == 3
    assert everything[0].truth == "owl"
    assert everything[1].truth is None
    assert [everything[place].weight_override for place in (0, -1)] == [None, 2.5]
    most = list(weighted.weights(order_by="val_loss_change_if_upweighted desc", limit=10))
    assert [weight.id for weight in most] == [f"u-{i:05d}" for i in range(24_999, 24_989, -1)]
    assert str(most[0]) == "u-24999  weight 1.000  harms +1 ± 1  teacher cat (100%), student dog (100%)"
    assert list(weighted.weights(limit=0)) == []


def test_weights_of_named_samples(server: SmallServer, weighted: Job) -> None:
    ids = [f"u-{i:05d}" for i in range(2500, 0, -1)]
    assert [weight.id for weight in weighted.weights(ids=ids)] == ids
    assert server.state.calls["BatchGetSampleWeights"] == 3
    with pytest.raises(NotFound, match="'nobody'"):
        list(weighted.weights(ids=["nobody"]))


def test_weights_as_one_table_though_the_stream_breaks(server: SmallServer, weighted: Job) -> None:
    server.state.cut_weights = [1, 1]
    table = weighted.weights_table()
    assert server.state.calls["StreamSampleWeights"] == 3
    assert table.column("id").to_pylist() == [f"u-{i:05d}" for i in range(25_000)]
    assert str(table.schema.field("weight").type) == "float"


def test_a_sample_is_decided_on_once(weighted: Job) -> None:
    with pytest.raises(InvalidArgument, match="decide more than once on 7; decide once"):
        weighted.override(ban=["7", "8"], pin={7: 1.0}, author="me", reason="why")


def test_one_client_serves_many_threads(server: SmallServer, client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda i: client.submit(L, U, request_id=f"r{i % 4}").name, range(32)))
    assert len(set(names)) == 4


def test_a_closed_client_says_so(server: SmallServer) -> None:
    with Client(server.target) as client:
        pass
    with pytest.raises(ValueError, match="closed"):
        client.get_job("j1")


def test_a_client_needs_an_address() -> None:
    with pytest.raises(InvalidArgument, match="localhost:50051"):
        Client("")
    assert "tenant='blue'" in repr(Client("localhost:1", tenant="blue"))
    assert grpc.StatusCode.OK is not None

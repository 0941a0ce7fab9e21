"""The real stack as an operator sees it: its metrics move, its lines are JSON, and one trace runs through all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import running_stack
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]


@dataclass
class Collector:
    """An OTLP collector: what came, as (service, span)."""

    url: str
    spans: list[tuple[str, Any]] = field(default_factory=list)

    def named(self, name: str) -> list[Any]:
        return [span for _, span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    found.spans.extend((names["service.name"], span) for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def scrape(url: str) -> dict[str, float]:
    """Every sample by name and labels, as ``name{label=value}``."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - of this test
        text = answer.read().decode()
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


def is_ready(worker: str) -> bool:
    try:
        return scrape(worker)["kdaif_worker_ready"] == 1
    except URLError:
        return False  # it has not begun to listen


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


@pytest.mark.timeout(240)
def test_a_job_is_seen_from_outside(tmp_path: Path, collector: Collector, free_ports: tuple[int, int]) -> None:
    pages = [f"127.0.0.1:{port}" for port in free_ports]
    options = ("--metrics", pages[0], "--worker-metrics", pages[1], "--log-format", "json")
    with running_stack(tmp_path, options=(*options, "--otlp-endpoint", collector.url)) as stack:
        server, worker = (f"http://{page}/metrics" for page in pages)
        wait_for(lambda: is_ready(worker))
        before = scrape(server)
        command = [sys.executable, "-m", "tests.e2e.program", stack.target, collector.url]
        ran = subprocess.run(
            command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=150, check=False
        )
        assert ran.returncode == 0, ran.stderr
        job = ran.stdout.rpartition("/")[2]
        at_server, at_worker = scrape(server), scrape(worker)
        wait_for(lambda: len(collector.named("attempt")) == 1)
    _metrics_moved(before, at_server, at_worker)
    _one_trace(collector, job)
    _lines(lines_of(tmp_path / "stack.log"), job)


def _metrics_moved(before: dict[str, float], server: dict[str, float], worker: dict[str, float]) -> None:
    assert server["kdaif_upload_bytes_total"] > before["kdaif_upload_bytes_total"] == 0
    assert server["kdaif_rpc_seconds_count{code=OK,method=CreateDistillationJob}"] == 1
    assert server["kdaif_rpc_seconds_sum{code=OK,method=WatchDistillationJob}"] > 0.5
    assert server["kdaif_redis_up"] == server["kdaif_redis_aof_enabled"] == server["kdaif_redis_aof_healthy"] == 1
    assert server["kdaif_workers{mode=active}"] == 1
    assert server["kdaif_disk_free_bytes{place=blobs}"] > 1 << 20
    assert server["kdaif_lease_expiries_total"] == 0
    assert worker["kdaif_attempts_started_total"] == 1
    assert worker["kdaif_attempts_ended_total{outcome=succeeded}"] == 1
    assert worker["kdaif_attempt_seconds_count{outcome=succeeded}"] == 1
    for stage in ("start", "load", "teacher", "distil", "export"):
        assert worker[f"kdaif_stage_seconds_count{{stage={stage}}}"] == 1, stage
    assert worker["kdaif_influence_seconds_total"] > 0
    assert worker["kdaif_training_seconds_total"] > 0
    assert worker["kdaif_disk_free_bytes{place=cache}"] > 1 << 20


def _one_trace(collector: Collector, job: str) -> None:
    """From the program's own span down to the stages in the training child."""
    nightly = collector.named("nightly")[0]
    by_id = {span.span_id: span for _, span in collector.spans if span.trace_id == nightly.trace_id}

    def path(span: Any) -> list[str]:
        return [*path(by_id[span.parent_span_id]), span.name] if span.parent_span_id in by_id else [span.name]

    call = "kdaif.v1.DistillationJobService/CreateDistillationJob"
    paths = [path(span) for span in by_id.values()]
    assert ["nightly", call, call, "submit", "claim"] in paths
    for stage in ("load", "teacher", "distil", "export"):
        assert ["nightly", call, call, "submit", "attempt", "train", stage] in paths, stage
    services = {service for service, span in collector.spans if span.trace_id == nightly.trace_id}
    assert services == {"program", "kdaif-server", "kdaif-worker", "kdaif-child"}
    attempt = {each.key: each.value for each in collector.named("attempt")[0].attributes}
    assert attempt["kdaif.job"].string_value == job
    assert attempt["kdaif.attempt"].int_value == 1


def _lines(lines: list[dict[str, Any]], job: str) -> None:
    submitted = next(line for line in lines if line.get("method") == "CreateDistillationJob")
    assert submitted["service"] == "kdaif-server"
    assert (submitted["tenant"], submitted["job"], submitted["code"]) == ("default", job, "OK")
    finished = next(line for line in lines if line["event"] == "finished")
    assert finished["service"] == "kdaif-worker"
    assert (finished["tenant"], finished["job"], finished["attempt"]) == ("default", job, 1)
    # One id leads from the call to the attempt, and one trace from either to its spans.
    assert finished["request_id"] == submitted["request_id"]
    assert finished["trace_id"] == submitted["trace_id"]

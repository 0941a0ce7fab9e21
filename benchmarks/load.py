"""How one server holds up: 200 clients that watch, 50 uploads, unary calls as fast as they are answered, and a drain.

The server is `kdaif-server serve` in a process of its own, on a Valkey that fsyncs before it answers. The watches
follow a job each, on a connection each; some of the jobs move all the time. The unary calls are GetDistillationJob,
from 32 callers that each wait for the answer, on one connection, or on four for each process of the server; every call
has an API key, which the server checks. The bare rate is that of a `grpc.aio` server that answers the same bytes to the
same callers and does nothing else, in as many processes: alone, before the load and after it, and once while kdaif's
server has the watches and the uploads, which need the same processors. At the end the server gets SIGTERM amid all of
that, ends in its own time, and is started again; a call that fails there though the SDK hid what it could is a failure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from kdaif_client import Client
from kdaif_server.access.keys import KeyFile
from kdaif_server.access.scopes import Scope
from kdaif_server.embedded.valkey import EmbeddedValkey

from benchmarks.load_clients import Uploads, Watches, call_for, call_until_told, credentials, upload, watch
from benchmarks.load_cpu import CpuClock, cpu_s, family
from benchmarks.load_page import page
from benchmarks.record import write_results

WATCHERS = 200
UPLOADS = 50
_CALLERS = 32
_CONNECTIONS_PER_PROCESS = 4
_BARE_S = 10.0
_SETTLE_S = 10.0
_AFTER_S = 5.0
_UPLOAD_BYTES = 4 << 20
_MEMORY_LOOKS = 10
_UPLOADS_IN_THE_DRAIN = 5
_WANTED_UNARY_PER_S = 2000.0
_WANTED_SHARE_OF_BARE = 0.75
_START_S = 60.0
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Load:
    """What was measured."""

    unary_per_s: float
    raw_unary_per_s: float
    server_cpu_us_per_call: float
    raw_server_cpu_us_per_call: float
    raw_beside_unary_per_s: float
    p50_ms: float
    p99_ms: float
    failed_calls: int
    drain_failed_calls: int
    drain_s: float
    rss_growth_mb: float
    rss_growth_second_half_mb: float
    rss_mb: float
    watchers: int
    uploads: int
    events_watched: int
    minutes: float
    cores_of: Mapping[str, float]
    processes: int
    callers: int = _CALLERS

    @property
    def wanted_per_s(self) -> float:
        """2,000 calls a second, or three quarters of what a server reaches here that does nothing."""
        return min(_WANTED_UNARY_PER_S, _WANTED_SHARE_OF_BARE * self.raw_unary_per_s)

    def __str__(self) -> str:
        return (
            f"{self.minutes:g} min, {self.watchers} watches ({self.events_watched:,} events), {self.uploads} uploads\n"
            f"unary: {self.unary_per_s:,.0f}/s, p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms; "
            f"wanted {self.wanted_per_s:,.0f}/s\n"
            f"bare grpc.aio: alone {self.raw_unary_per_s:,.0f}/s, beside the same watches and uploads "
            f"{self.raw_beside_unary_per_s:,.0f}/s\n"
            f"CPU time of the server for a call, and all that it did beside: {self.server_cpu_us_per_call:,.0f} us; "
            f"of the bare one {self.raw_server_cpu_us_per_call:,.0f} us\n"
            f"processors kept busy: {', '.join(f'{cores:.2f} {kind}' for kind, cores in self.cores_of.items())}\n"
            f"failed calls: {self.failed_calls}, in the drain of {self.drain_s:.1f} s {self.drain_failed_calls}\n"
            f"memory: {self.rss_mb:,.0f} MB, growth {self.rss_growth_mb:+.1f} MB, "
            f"of which {self.rss_growth_second_half_mb:+.1f} MB in the second half"
        )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--processes", type=int, default=1, help="of each server, kdaif's and the bare one")
    parser.add_argument("--record", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--page", type=Path, help="a page of Markdown to write")
    arguments = parser.parse_args()
    started_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="kdaif-load-") as folder:
        load = measure(Path(folder), arguments.minutes * 60, arguments.processes)
    print(load)
    if arguments.record:
        figures = {name: float(value) for name, value in vars(load).items() if name != "cores_of"}
        figures["wanted_per_s"] = load.wanted_per_s
        figures["share_of_raw_beside"] = load.unary_per_s / load.raw_beside_unary_per_s
        table = [{"kind": kind, "cores": cores} for kind, cores in load.cores_of.items()]
        file = write_results("load", figures, table, started_at)
        print(f"Written to {file}")
        if arguments.page:
            arguments.page.write_text(page(json.loads(file.read_text())))
    if load.failed_calls or load.drain_failed_calls:
        sys.exit("Calls failed that the SDK should have hidden.")


def measure(folder: Path, seconds: float, processes: int) -> Load:
    """One run, all in ``folder``."""
    files = write_files(folder)
    os.environ["KDAIF_API_KEY"] = key_of(folder / "data")
    with EmbeddedValkey(folder / "valkey") as valkey, served(valkey.url, folder, processes) as server:
        with Client(server.target) as client:
            labeled = client.upload_dataset(_table(0, labels=True), name="labeled")
            pool = client.upload_dataset(_table(1), name="pool")
            jobs = [client.submit(labeled, pool, request_id=f"load-{n}").name for n in range(WATCHERS)]
        answer = client_answer(server.target, jobs[0])
        bare = [bare_rate(answer, processes)]
        with (
            ExitStack() as held,
            _process(watch, server.target, jobs, valkey.url) as (watches, watching_pid),
            _process(upload, server.target, files, seconds, _UPLOADS_IN_THE_DRAIN) as (uploads, uploading_pid),
        ):
            watches.recv()  # all of them have seen their job's first event
            beside = bare_rate(answer, processes)
            calls, calling_pid = held.enter_context(
                _process(call_until_told, server.target, jobs, _CALLERS, connections(processes))
            )
            kinds = {
                "server": server.pid,
                "Valkey": valkey.pid,
                "unary callers": calling_pid,
                "watching clients, and what moves their jobs": watching_pid,
                "uploading clients": uploading_pid,
            }
            time.sleep(min(_SETTLE_S, seconds / 4))
            first = CpuClock.now(kinds)
            calls.send("measure")
            memory_mb = [server.rss_mb()]
            for _ in range(_MEMORY_LOOKS):
                time.sleep(seconds / _MEMORY_LOOKS)
                memory_mb.append(server.rss_mb())
            cores_of = first.cores_until(CpuClock.now(kinds))
            calls.send("drain")
            steady = calls.recv()
            uploads.send("drain")
            drain_s = server.drain()
            server.start()
            time.sleep(_AFTER_S)
            calls.send("end")
            in_drain = calls.recv()
            uploaded: Uploads = uploads.recv()
            watches.send("end")
            watched: Watches = watches.recv()
        bare.append(bare_rate(answer, processes))
    return Load(
        unary_per_s=steady.calls / steady.seconds,
        raw_unary_per_s=float(np.mean([each.per_s for each in bare])),
        server_cpu_us_per_call=cores_of["server"] * seconds * 1e6 / steady.calls,
        raw_server_cpu_us_per_call=float(np.mean([each.cpu_us for each in bare])),
        raw_beside_unary_per_s=beside.per_s,
        p50_ms=float(np.percentile(steady.latencies_ms, 50)),
        p99_ms=float(np.percentile(steady.latencies_ms, 99)),
        failed_calls=steady.failed + uploaded.failed_before_drain,
        drain_failed_calls=in_drain.failed + uploaded.failed_in_drain + watched.failed,
        drain_s=drain_s,
        rss_growth_mb=memory_mb[-1] - memory_mb[0],
        rss_growth_second_half_mb=memory_mb[-1] - memory_mb[_MEMORY_LOOKS // 2],
        rss_mb=memory_mb[-1],
        watchers=watched.watchers,
        uploads=uploaded.done,
        events_watched=watched.events,
        minutes=seconds / 60,
        cores_of=cores_of,
        processes=processes,
    )


def connections(processes: int) -> int:
    """Of all unary callers together. The kernel gives each to one process, and a single one would keep one busy."""
    return 1 if processes == 1 else _CONNECTIONS_PER_PROCESS * processes


def key_of(data: Path) -> str:
    """A key of the server whose data folder this is, as the SDK takes it from ``KDAIF_API_KEY``."""
    return KeyFile(data / "access" / "keys.json").create("default", frozenset({Scope.ADMIN}))[1]


def write_files(folder: Path) -> list[Path]:
    """Tables of about 4 MiB, no two of them alike."""
    files = []
    for number in range(UPLOADS):
        files.append(folder / f"upload-{number}.parquet")
        values = np.random.default_rng(number).normal(size=_UPLOAD_BYTES // 16)
        table = pa.table({"id": np.arange(len(values)), "x": values})
        pq.write_table(table, files[-1], compression="none", use_dictionary=False)
    return files


class Served:
    """`kdaif-server serve`, always at the same port."""

    def __init__(self, redis_url: str, folder: Path, processes: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.target = f"127.0.0.1:{free.getsockname()[1]}"
        port = self.target.rpartition(":")[2]
        self._command = (
            *(sys.executable, "-m", "kdaif_server", "serve"),
            *("--port", port, "--processes", str(processes)),
        )
        self._environment = os.environ | {"KDAIF_REDIS_URL": redis_url, "KDAIF_DATA_DIR": str(folder / "data")}
        self._log = folder / "server.log"
        self.start()

    def start(self) -> None:
        """Returns when calls are answered."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        with grpc.insecure_channel(self.target) as channel:
            grpc.channel_ready_future(channel).result(_START_S)

    def rss_mb(self) -> float:
        """Resident memory of the server, of all its processes together."""
        processes = family(self._process.pid)
        return float(sum(process.memory_info().rss for process in processes) / 1e6)

    @property
    def pid(self) -> int:
        """Of the server."""
        return self._process.pid

    def drain(self) -> float:
        """Seconds from SIGTERM to its end."""
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_START_S)
        return time.monotonic() - started

    def kill(self) -> None:
        """Ends it whatever it does."""
        self._process.kill()
        self._process.wait()


@contextmanager
def served(redis_url: str, folder: Path, processes: int = 1) -> Iterator[Served]:
    """A server until the block is left."""
    server = Served(redis_url, folder, processes)
    try:
        yield server
    finally:
        server.kill()


def client_answer(target: str, job: str) -> bytes:
    """The bytes that a server answers to GetDistillationJob."""
    from kdaif_proto.v1 import jobs_pb2, jobs_pb2_grpc

    with grpc.insecure_channel(target) as channel:
        stub = jobs_pb2_grpc.DistillationJobServiceStub(channel)
        request, shown = jobs_pb2.GetDistillationJobRequest(name=job), credentials().metadata()
        return stub.GetDistillationJob(request, timeout=30, metadata=shown).SerializeToString()


@dataclass(frozen=True)
class Bare:
    """Calls a second, and the server's CPU time for one."""

    per_s: float
    cpu_us: float


def bare_rate(answer: bytes, processes: int) -> Bare:
    """That of a server that answers the same bytes and does nothing."""
    with ExitStack() as held:
        port, pids = 0, []
        for _ in range(processes):
            started, pid = held.enter_context(_process(_serve_bare, answer, port, processes > 1))
            port = started.recv()
            pids.append(pid)
        before_s = sum(map(cpu_s, pids))
        jobs = ["tenants/t/distillationJobs/j"]
        seen = asyncio.run(call_for(f"127.0.0.1:{port}", jobs, _CALLERS, connections(processes), _BARE_S))
        used_s = sum(map(cpu_s, pids)) - before_s
    return Bare(seen.calls / seen.seconds, used_s * 1e6 / seen.calls)


def _serve_bare(pipe: Connection, answer: bytes, port: int, shares_port: bool) -> None:
    async def answered(request: bytes, context: Any) -> bytes:
        return answer

    async def serve() -> None:
        server = grpc.aio.server(options=[("grpc.so_reuseport", int(shares_port))])
        handler: Any = grpc.unary_unary_rpc_method_handler(answered)
        methods = {"GetDistillationJob": handler}
        service = grpc.method_handlers_generic_handler("kdaif.v1.DistillationJobService", methods)
        server.add_generic_rpc_handlers((service,))
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        pipe.send(bound)
        await server.wait_for_termination()

    asyncio.run(serve())


@contextmanager
def _process(work: Any, *arguments: Any) -> Iterator[tuple[Connection, int]]:
    """The other end of a process that runs ``work(pipe, *arguments)``, and its id."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours, process.pid or 0
    finally:
        process.kill()
        process.join()


def _table(seed: int, *, labels: bool = False) -> dict[str, Any]:
    features = np.random.default_rng(seed).normal(size=(120, 4)).astype(np.float32)
    return {"features": features, **({"label": np.tile(["cat", "dog", "owl"], 40)} if labels else {})}


if __name__ == "__main__":
    main()

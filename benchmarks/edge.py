"""``python -m benchmarks.edge``: what an edge team gets, in figures. Each part adds its own to ``edge.json``."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from kdaif_server.embedded.valkey import EmbeddedValkey

from benchmarks import int8_gate, rollout, student_latency, student_runtimes
from benchmarks.record import RESULTS, write_results

_DEVICES = 10_000
_TRIALS = 200


def main() -> None:
    """Runs the parts, prints and writes their figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge", description=__doc__)
    parser.add_argument("--part", choices=sorted(PARTS), action="append", help="only this; may be repeated")
    arguments = parser.parse_args()
    started_at = datetime.now(UTC)
    figures = _before() if arguments.part else {}
    for part in arguments.part or PARTS:
        figures |= PARTS[part]()
    for name, value in figures.items():
        print(f"{name:32} {value:,.6g}")
    print(f"\nWritten: {write_results('edge', figures, [], started_at)}")


def _before() -> dict[str, float]:
    """Of the parts that do not run now."""
    file = RESULTS / "edge.json"
    return dict(json.loads(file.read_text())["figures"]) if file.exists() else {}


def _rollout() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="kdaif-rollout-") as name:
        folder = Path(name)
        with EmbeddedValkey(folder / "valkey") as valkey:
            trials = rollout.simulate(valkey.url, folder, devices=_DEVICES, trials=_TRIALS)
            return rollout.figures(asyncio.run(trials))


def _latency() -> dict[str, float]:
    found = student_latency.latencies()
    for each in found:
        print(f"{each.ours_ms:9.4f} ms  {each.handmade_ms:9.4f} by hand  {each.eager_ms:9.4f} in torch  {each.preset}")
    return student_latency.figures(found)


def _int8() -> dict[str, float]:
    found = int8_gate.trials()
    for each in found:
        told = f"{'bad' if each.bad else 'good'}, {'shipped' if each.shipped else 'left out'}"
        print(f"{each.kind:8} {each.harm:32} {each.agreement:8.2%} of the held-out rows agree: {told}")
    return int8_gate.figures(found)


PARTS: Mapping[str, Callable[[], dict[str, float]]] = {
    "rollout": _rollout,
    "latency": _latency,
    "int8": _int8,
    "runtimes": student_runtimes.figures,
}

if __name__ == "__main__":
    main()

"""``python -m benchmarks.edge``: what an edge team gets, in figures. Each part adds its own to ``edge.json``."""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kdaif_server.embedded.valkey import EmbeddedValkey

from benchmarks import int8_gate, rollout, student_latency, student_runtimes
from benchmarks.edge_page import page
from benchmarks.record import RESULTS, write_results
from benchmarks.student_rows import SIGNATURES

_DEVICES = 10_000
_TRIALS = 200
_LATENCY = "latency-"


@dataclass(frozen=True)
class Found:
    """What a part found: its figures, and the rows that these come from where a reader wants them one by one."""

    figures: Mapping[str, float]
    rows: Sequence[Mapping[str, Any]] = ()


def main() -> None:
    """Runs the parts, prints and writes their figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge", description=__doc__)
    parser.add_argument("--part", choices=sorted(PARTS), action="append", help="only this; may be repeated")
    parser.add_argument("--page", type=Path, help="a page of Markdown to write, once every part was run")
    arguments = parser.parse_args()
    started_at = datetime.now(UTC)
    before = _before() if arguments.part else {}
    figures, rows = dict(before.get("figures", {})), list(before.get("table", []))
    for part in arguments.part or PARTS:
        found = PARTS[part]()
        rows = [row for row in rows if row["part"] != part] + [{"part": part, **row} for row in found.rows]
        figures |= found.figures
    figures |= _latency_figures(rows)
    for name, value in figures.items():
        print(f"{name:36} {value:,.6g}")
    file = write_results("edge", figures, rows, started_at)
    print(f"\nWritten: {file}")
    if arguments.page:
        arguments.page.write_text(page(json.loads(file.read_text())))


def _before() -> dict[str, Any]:
    """Of the parts that do not run now."""
    file = RESULTS / "edge.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


def _rollout() -> Found:
    with tempfile.TemporaryDirectory(prefix="kdaif-rollout-") as name:
        folder = Path(name)
        with EmbeddedValkey(folder / "valkey") as valkey:
            trials = rollout.simulate(valkey.url, folder, devices=_DEVICES, trials=_TRIALS)
            return Found(rollout.figures(asyncio.run(trials)))


def _latency(kind: str) -> Found:
    found = student_latency.latencies((kind,))
    for each in found:
        print(f"{each.ours_ms:9.4f} ms  {each.handmade_ms:9.4f} by hand  {each.eager_ms:9.4f} in torch  {each.preset}")
    return Found({}, [asdict(each) for each in found])


def _latency_figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Over the presets of every kind, whichever of them ran now."""
    own = [
        student_latency.Latency(**{name: value for name, value in row.items() if name != "part"})
        for row in rows
        if row["part"].startswith(_LATENCY)
    ]
    return student_latency.figures(own) if own else {}


def _int8() -> Found:
    found = int8_gate.trials()
    for each in found:
        told = f"{'bad' if each.bad else 'good'}, {'shipped' if each.shipped else 'left out'}"
        print(f"{each.kind:8} {each.harm:32} {each.agreement:8.2%} of the held-out rows agree: {told}")
    return Found(int8_gate.figures(found), [asdict(each) for each in found])


PARTS: Mapping[str, Callable[[], Found]] = {
    "rollout": _rollout,
    # Two minutes each, on a machine with nothing else to do.
    **{f"{_LATENCY}{kind}": functools.partial(_latency, kind) for kind in SIGNATURES},
    "int8": _int8,
    "runtimes": lambda: Found(student_runtimes.figures()),
}

if __name__ == "__main__":
    main()

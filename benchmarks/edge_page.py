"""The page about what an edge team gets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

FIGURES = (
    "fp32_ratio_to_handmade_max",
    "eager_speedup_min",
    "runtimes_max_abs",
    "int8_gate_false_ship",
    "rollout_correct_share",
    "share_error_points",
)
_PAGE = """# Students on the edge, measured

Written by `make bench-edge` from `benchmarks/results/edge.json`, on {cores} cores ({cpu}), onnxruntime {onnxruntime},
torch {torch}. [What an edge team does with a student](../edge.md); [rolling one out](../rollout.md).

| | wanted | measured |
|---|---|---:|
| latency of the fp32 file beside an export by hand, worst of {presets:.0f} presets | 1 or less | {ratio:.3f} |
| the same of two sessions of one and the same file | | {itself:.3f} |
| eager torch beside the fp32 file, smallest to largest | 1.4 to 10 | {slowest:.2f} to {fastest:.2f} |
| largest difference of an answer in Node or the browser | 1e-5 | {runtimes:.1e} |
| int8 files that the gate ships, of {bad:.0f} bad ones | 0 | {false_ship:.0%} |
| int8 files that the gate leaves out, of {good:.0f} good ones | | {false_refusal:.0%} |
| rollouts that end with the better student | over 95 % | {correct:.1%} |
| devices that got the canary, off the share, worst rollout | | {share_error:.2f} points |
| devices that were told something else without cause | 0 | {moved:.0f} |

## Latency

Milliseconds of one row at batch 1 on one thread, logits and probabilities asked for. The export by hand is
`torch.onnx.export` of the same network and a softmax, run by a bare session of onnxruntime. Four sessions take turns
call by call, in an order that is drawn anew each turn: ours, ours once more, and the other, called without and with the
names of its outputs. A figure is the median of the medians of 4 to 40 rounds, in each of which all are opened anew,
another one first: where its memory comes to lie makes some 3 % of a difference between two sessions of one file.
"itself" is that noise, ours beside ours.

| preset | ours | by hand | ratio | itself | eager torch | times faster |
|---|---:|---:|---:|---:|---:|---:|
{latencies}

## Rollouts

{trials} rollouts of 10,000 devices through the service and a real Valkey. In every second one the canary is better by
5 points of accuracy, in the others worse by as much; the share is 5 % on the first day and 10 % from the second on,
each device learns one outcome a day, and the server decides by itself, after {days:.1f} days in the mean.

## The gate of int8

Students that int8 suits, and the same ones with outlying numbers inside or calibrated on one row. A file is bad when a
class loses more points, or fewer rows keep their class, than the gate allows, on 5,000 rows that the gate never saw.

| rows | harm | keep their class | |
|---|---|---:|---|
{int8}
"""


def page(document: Mapping[str, Any]) -> str:
    """What `benchmarks.edge` wrote, for people.

    Raises:
        SystemExit: a part was not run yet.
    """
    figures, machine, rows = document["figures"], document["machine"], document["table"]
    missing = [name for name in FIGURES if name not in figures]
    if missing:
        raise SystemExit(f"edge.json lacks {', '.join(missing)}; run the parts that make them, then the page again")
    return _PAGE.format(
        cores=machine["cores"],
        cpu=machine["cpu"],
        onnxruntime=machine["packages"]["onnxruntime"],
        torch=machine["packages"]["torch"],
        presets=figures["presets"],
        ratio=figures["fp32_ratio_to_handmade_max"],
        itself=figures["fp32_ratio_to_itself_max"],
        slowest=figures["eager_speedup_min"],
        fastest=figures["eager_speedup_max"],
        runtimes=figures["runtimes_max_abs"],
        bad=figures["int8_gate_bad"],
        good=figures["int8_gate_good"],
        false_ship=figures["int8_gate_false_ship"],
        false_refusal=figures["int8_gate_false_refusal"],
        correct=figures["rollout_correct_share"],
        share_error=figures["share_error_points"],
        moved=figures["rollout_devices_moved"],
        trials=200,
        days=figures["rollout_days_mean"],
        latencies="\n".join(_latencies(rows)),
        int8="\n".join(_int8(rows)),
    )


def _latencies(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for row in rows:
        if row["part"].startswith("latency"):
            ours, by_hand, eager = row["ours_ms"], row["handmade_ms"], row["eager_ms"]
            preset = re.sub(r"kind='\w+', ", "", row["preset"])
            yield (
                f"| `{preset}` | {ours:.4f} | {by_hand:.4f} | {ours / by_hand:.3f} | {ours / row['again_ms']:.3f} | "
                f"{eager:.4f} | {eager / ours:.2f} |"
            )


def _int8(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for row in rows:
        if row["part"] == "int8":
            told = f"{'bad' if row['bad'] else 'good'}, {'shipped' if row['shipped'] else 'left out'}"
            yield f"| {row['kind']} | {row['harm']} | {row['agreement']:.2%} | {told} |"

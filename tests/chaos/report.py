"""The outcome of runs, for people and as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.chaos.invariants import Invariant
from tests.chaos.outcome import Outcome, median


def figures(outcome: Outcome) -> dict[str, float]:
    """By the names of ``benchmarks/results/chaos.json``."""
    return {
        "jobs": outcome.jobs,
        "faults": sum(outcome.faults.values()),
        "lost": outcome.count(Invariant.LOST),
        "doubled": outcome.count(Invariant.DOUBLED),
        "stale_published": outcome.count(Invariant.STALE),
        "out_of_order": outcome.count(Invariant.ORDER),
        "other_weights": outcome.count(Invariant.OTHER_WEIGHTS),
        "shard_files_left": len(outcome.left_shards),
        "uploads_lost": len(outcome.missing_uploads),
        "processes_left": len(outcome.left_processes),
        "restart_within_leases_max": max(outcome.restarts_in_leases, default=0.0),
    }


def row(outcome: Outcome) -> dict[str, Any]:
    """All that is known of one seed."""
    under = outcome.restarts_under_faults
    return {
        "seed": outcome.plan.seed,
        **figures(outcome),
        "passed": outcome.passed,
        "seconds": round(outcome.seconds, 1),
        "lease_s": outcome.plan.lease_s,
        "real_jobs_succeeded": outcome.real_jobs,
        "real_jobs": outcome.plan.real_jobs + outcome.plan.real_sharded_jobs,
        "real_sharded_jobs": outcome.plan.real_sharded_jobs,
        "sharded_jobs_succeeded": outcome.sharded_jobs,
        "shards_taken": outcome.shards_taken,
        "shards_tried_again": outcome.shards_tried_again,
        "states": outcome.states,
        "attempts": outcome.attempts,
        "uploads": outcome.uploads,
        "faults_by_kind": outcome.faults,
        "faults_without_a_target": outcome.missed_faults,
        "answers_lost_of_queued_jobs": outcome.answers_lost_of_queued_jobs,
        "restarts_probed": len(outcome.restarts_in_leases),
        "restarts_under_faults": len(under),
        "back_in_line_under_faults_leases_median": round(median([each.back_in_line for each in under]), 3),
        "back_in_line_under_faults_leases_max": round(max((each.back_in_line for each in under), default=0.0), 3),
        "waited_under_faults_leases_median": round(median([each.waited for each in under]), 3),
        "keys_left": len(outcome.left_keys),
        "jobs_not_restored": len(outcome.not_restored),
        "redis_bytes_before": outcome.memory_before,
        "redis_bytes_after": outcome.memory_after,
        "redis_bytes_emptied": outcome.memory_emptied,
        "starts": outcome.starts,
        "full_disk_by": outcome.disk,
    }


def findings(outcome: Outcome) -> str:
    """What went wrong, with the history of each job concerned; empty where nothing did."""
    lines = [f"VIOLATION {violation}" for violation in outcome.violations]
    lines += [str(history) for history in outcome.histories.values()]
    lines += [f"UPLOAD LOST {upload}" for upload in outcome.missing_uploads]
    lines += [f"PROCESS LEFT {process}" for process in outcome.left_processes]
    lines += [f"KEY LEFT {key}" for key in outcome.left_keys]
    lines += [f"FILE OF A SHARD LEFT {path}" for path in outcome.left_shards]
    lines += [f"NOT RESTORED {job}" for job in outcome.not_restored]
    if not outcome.memory_is_back:
        lines.append(
            f"MEMORY {outcome.memory_before:,} bytes before, {outcome.memory_emptied:,} once jobs were deleted"
        )
    if max(outcome.restarts_in_leases, default=0.0) > 1.0:
        lines.append(f"LATE RESTART, in leases: {outcome.restarts_in_leases}")
    lines += [f"BROKEN {what}" for what in outcome.broken]
    return "\n".join(lines)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: figures by seed, then faults by kind and seed."""
    shown = (
        ("jobs acknowledged", "jobs"),
        ("of these real training, succeeded", "real_jobs_succeeded"),
        ("scored in shards, succeeded", "sharded_jobs_succeeded"),
        ("shards that another worker took", "shards_taken"),
        ("shards that took several attempts", "shards_tried_again"),
        ("attempts", "attempts"),
        ("uploads acknowledged", "uploads"),
        ("faults injected", "faults"),
        ("jobs lost", "lost"),
        ("jobs doubled", "doubled"),
        ("stale publishes", "stale_published"),
        ("events out of order", "out_of_order"),
        ("jobs whose shards made other weights", "other_weights"),
        ("files of shards left", "shard_files_left"),
        ("uploads lost", "uploads_lost"),
        ("processes left", "processes_left"),
        ("expiry to restart, most, in leases", "restart_within_leases_max"),
        ("expiry to back in line while faults go on, median", "back_in_line_under_faults_leases_median"),
        ("the same, most", "back_in_line_under_faults_leases_max"),
        ("and then until a worker is free, median", "waited_under_faults_leases_median"),
        ("lost answers of jobs that were queued", "answers_lost_of_queued_jobs"),
        ("jobs that rebuild-index does not restore", "jobs_not_restored"),
        ("bytes of Redis before", "redis_bytes_before"),
        ("bytes of Redis after", "redis_bytes_after"),
        ("bytes of Redis, jobs deleted", "redis_bytes_emptied"),
        ("seconds", "seconds"),
    )
    lines = [_line("", *(f"seed {each['seed']}" for each in rows)), _line("---", *("---:" for _ in rows))]
    lines += [_line(label, *(_number(each[name]) for each in rows)) for label, name in shown]
    kinds = sorted({kind for each in rows for kind in each["faults_by_kind"]})
    lines += ["", _line("fault", *(f"seed {each['seed']}" for each in rows)), _line("---", *("---:" for _ in rows))]
    lines += [_line(kind, *(str(each["faults_by_kind"].get(kind, 0)) for each in rows)) for kind in kinds]
    states = sorted({state for each in rows for state in each["states"]})
    lines += [
        "",
        _line("jobs ended as", *(f"seed {each['seed']}" for each in rows)),
        _line("---", *("---:" for _ in rows)),
    ]
    lines += [_line(state, *(str(each["states"].get(state, 0)) for each in rows)) for state in states]
    return "\n".join(lines)


def page(document: Mapping[str, Any]) -> str:
    """``docs/results/chaos.md`` from ``benchmarks/results/chaos.json``."""
    rows = document["table"]
    machine, first = document["machine"], rows[0]
    kept = "held" if all(each["passed"] for each in rows) else "DID NOT HOLD"
    runs = f"{len(rows)} runs" if len(rows) > 1 else "one run, where three in a row are asked for"
    bare = ", ".join(f"{name.upper()} {first[f'bare_{name}_per_s']:,.0f}/s" for name in ("set", "rpush"))
    return f"""# Chaos: what was promised, and what was done to break it

Written by `make chaos` from `benchmarks/results/chaos.json`. The promises {kept} in {runs}.

{table(rows)}

Jobs are short: {first["jobs"] - first["real_jobs"]} of them are trained by a stand-in without torch that speaks the
real messages and writes real files, {first["real_jobs"]} by the real training child. Of the jobs whose pool is scored
in shards by whoever is free, {first["real_sharded_jobs"]} are real: their weights must equal, bit by bit, those of the
same job uncut, trained in the calm afterwards. A full disk was made by
{first["full_disk_by"]}, the lease was {first["lease_s"]:g} s. The restart of a dead worker's job was probed
{first["restarts_probed"]} times per run in the calm after the chaos, from the expiry of its lease to the next claim;
the figures "while faults go on", of killed supervisors, hold whatever else was broken meanwhile.

Queue at 16 clients: {first["queue_jobs_per_s"]:,.0f} jobs/s (submit, claim, finish: three durable writes each). The
same server bare, by `redis-benchmark` at 16 clients: {bare}. Ratio of writes: {first["queue_ratio_to_bare"]:.3f};
to the same number of bare writes by as many clients in Python, {first["queue_ratio_to_bare_python"]:.3f}.

{machine["cpu"]}, {machine["cores"]} cores, {machine["memory_gib"]} GiB; {document["started_at"]}, commit
{document["commit"][:12]}. To repeat one seed: `make chaos SEED={first["seed"]}`. Which job, fault and pause comes when
follows from the seed; what the processes do with it does not, so a finding may need several runs.
"""


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)

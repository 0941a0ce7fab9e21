"""The page of the edge tells every figure, and is not written without one."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.edge_page import FIGURES, page

FIGURES_OF_A_RUN = {
    "fp32_ratio_to_handmade_max": 1.004,
    "fp32_ratio_to_itself_max": 1.011,
    "eager_speedup_min": 1.52,
    "eager_speedup_max": 7.2,
    "presets": 24.0,
    "runtimes_max_abs": 2.5e-6,
    "int8_gate_false_ship": 0.0,
    "int8_gate_false_refusal": 0.125,
    "int8_gate_bad": 20.0,
    "int8_gate_good": 16.0,
    "rollout_correct_share": 0.995,
    "share_error_points": 0.59,
    "rollout_days_mean": 2.57,
    "rollout_devices_moved": 0.0,
}
TIMES = {"ours_ms": 0.01, "again_ms": 0.0101, "handmade_ms": 0.0125, "handmade_by_name_ms": 0.012, "eager_ms": 0.05}


def document(figures: dict[str, float]) -> dict[str, Any]:
    return {
        "figures": figures,
        "table": [
            {"part": "latency-numeric", "preset": "Mlp(kind='mlp', hidden_sizes=(8,))", **TIMES},
            {"part": "int8", "kind": "image", "harm": "none", "shipped": True, "bad": False, "agreement": 0.998},
        ],
        "machine": {"cores": 2, "cpu": "a CPU", "packages": {"onnxruntime": "1.32.0", "torch": "2.13.0"}},
    }


def test_every_figure_is_told() -> None:
    told = page(document(FIGURES_OF_A_RUN))
    for figure in ("1.004", "1.52 to 7.20", "2.5e-06", "99.5%", "0.59 points", "2.6 days"):
        assert figure in told
    assert "| `Mlp(hidden_sizes=(8,))` | 0.0100 | 0.0125 | 0.800 | 0.990 | 0.0500 | 5.00 |" in told
    assert "| image | none | 99.80% | good, shipped |" in told


@pytest.mark.parametrize("name", FIGURES)
def test_no_page_without_every_part(name: str) -> None:
    figures = {key: value for key, value in FIGURES_OF_A_RUN.items() if key != name}
    with pytest.raises(SystemExit, match=name):
        page(document(figures))

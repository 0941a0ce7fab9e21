"""Every metric and label that the Grafana dashboard and the alert rules name is one that kdaif shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
import yaml
from kdaif_server.observability import ServerMetrics
from kdaif_worker.metrics import WorkerMetrics
from prometheus_client import CollectorRegistry

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCS = DEPLOY.parent / "docs/production.md"
# What Prometheus adds to every series by itself.
_ADDED = {"instance", "job", "le", "__name__"}


def shown() -> dict[str, set[str]]:
    """The labels of each series that a server or a worker can show, by its name."""
    found: dict[str, set[str]] = {}
    registries: list[CollectorRegistry] = [ServerMetrics().registry, WorkerMetrics({}).registry]
    for registry in registries:
        for collector in list(registry._collector_to_names):
            labels = set(getattr(collector, "_labelnames", ()))
            for name in registry._collector_to_names[collector]:
                found.setdefault(name, set()).update(labels)
    # Collectors that are asked at each scrape do not say beforehand what they have.
    found["process_resident_memory_bytes"] = set()
    found["kdaif_gpu_busy_ratio"] = {"gpu"}
    found["kdaif_disk_free_bytes"] |= {"place"}
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in json.loads((DEPLOY / "grafana/kdaif.json").read_text("utf-8"))["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    keda = (DEPLOY / "helm/kdaif/templates/autoscaling.yaml").read_text("utf-8")
    for expression in re.findall(r"query: (.+)", keda):
        yield "autoscaling", expression


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_each_expression_is_promql_over_series_that_there_are(where: str, expression: str) -> None:
    promql_parser.parse(expression)
    series = shown()
    names = set(re.findall(r"\b(?:kdaif|process|python)_[a-z0-9_]+", expression))
    assert names <= series.keys(), where
    allowed = _ADDED.union(*(series[name] for name in names))
    by = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
    matched = set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression))
    assert by | matched <= allowed, where


def test_every_metric_is_on_the_dashboard() -> None:
    used = {name for _, expression in expressions() for name in re.findall(r"kdaif_[a-z0-9_]+", expression)}
    bases = {re.sub(r"_(bucket|count|sum|total|created)$", "", name) for name in shown() if name.startswith("kdaif_")}
    assert bases == {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in used}


def test_every_metric_and_every_alert_is_in_the_docs() -> None:
    text = DOCS.read_text("utf-8")
    for name in {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in shown() if name.startswith("kdaif_")}:
        assert name in text, name
    alerts = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text("utf-8"))["groups"][0]["rules"]
    assert all(rule["alert"] in text for rule in alerts)


def test_labels_in_annotations_survive_the_expression() -> None:
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
            kept = {label.strip() for by in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in by.split(",")}
            assert named <= kept, rule["alert"]

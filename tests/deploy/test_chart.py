"""The Helm chart, rendered by Helm's own library and held to the schemas of Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

CHART = Path(__file__).parents[2] / "deploy/helm/kdaif"
KUBERNETES = "1.31"
# Of operators, whose schemas are not part of Kubernetes.
FOREIGN = {"ScaledObject", "PodMonitor"}
WITH_S3: dict[str, Any] = {"store": {"url": "s3://bucket/kdaif", "existingSecret": "s3"}}
VALUES: dict[str, dict[str, Any]] = {
    "default": {},
    "outside": {"valkey": {"enabled": False}, "redis": {"url": "redis://redis:6379/0"}, **WITH_S3},
    "secret": {"valkey": {"enabled": False}, "redis": {"existingSecret": "redis"}},
    "gpus": {
        "worker": {
            "gpus": 2,
            "processesPerJob": 2,
            "labels": "a100,big",
            "nodeSelector": {"gpu": "a100"},
            "env": {"KDAIF_LEASE_TTL_S": 120},
        }
    },
    "hosts": {"worker": {"gpus": 1, "hosts": 2, "shardStudents": "always"}, **WITH_S3},
    "scaled": {
        "autoscaling": {"enabled": True},
        "podMonitor": {"enabled": True},
        "imagePullSecrets": [{"name": "pull"}],
    },
    "mutual tls": {"access": {"tls": {"existingSecret": "tls", "mutual": True}}},
    "processes": {"server": {"processes": 3}, "podMonitor": {"enabled": True}},
    "bare": {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
}


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name="r", namespace="ml")
    texts = (text for name, text in files.items() if name.endswith(".yaml"))
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def kind(documents: list[dict[str, Any]], wanted: str, name: str) -> dict[str, Any]:
    return next(each for each in documents if each["kind"] == wanted and each["metadata"]["name"] == name)


def pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in documents
        if each["kind"] in ("Deployment", "StatefulSet")
    }


@pytest.mark.parametrize("case", VALUES)
def test_every_object_is_what_kubernetes_takes(case: str) -> None:
    documents = rendered(VALUES[case])
    assert {"Deployment", "Service"} <= {each["kind"] for each in documents}
    for document in documents:
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("case", VALUES)
def test_no_pod_has_rights_that_it_does_not_need(case: str) -> None:
    for name, pod in pods(rendered(VALUES[case])).items():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name


@pytest.mark.parametrize("case", ["default", "mutual tls"])
def test_servers_are_probed_by_grpc_without_tls_and_drained(case: str) -> None:
    documents = rendered(VALUES[case])
    pod = pods(documents)["r-server"]
    container = pod["containers"][0]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert container["readinessProbe"]["grpc"] == {"port": 50052}
    assert environment["KDAIF_HEALTH"] == ":50052"
    assert pod["terminationGracePeriodSeconds"] >= 30
    assert kind(documents, "PodDisruptionBudget", "r-server")["spec"]["maxUnavailable"] == 1


def test_each_process_of_a_server_has_a_page_of_metrics_that_is_scraped() -> None:
    documents = rendered(VALUES["processes"])
    container = pods(documents)["r-server"]["containers"][0]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["KDAIF_PROCESSES"] == "3"
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"grpc": 50051, "health": 50052, "metrics": 9464, "metrics-1": 9465, "metrics-2": 9466}
    scraped = {each["port"] for each in kind(documents, "PodMonitor", "r")["spec"]["podMetricsEndpoints"]}
    allowed = {each["port"] for each in kind(documents, "NetworkPolicy", "r-server")["spec"]["ingress"][1]["ports"]}
    assert scraped == allowed == {"metrics", "metrics-1", "metrics-2"}


def test_keda_follows_the_age_of_the_queue_and_the_replicas_are_its_own() -> None:
    documents = rendered(VALUES["scaled"])
    queries = [each["metadata"]["query"] for each in kind(documents, "ScaledObject", "r-worker")["spec"]["triggers"]]
    assert queries == ["max(kdaif_queue_oldest_seconds)", "max(kdaif_workers_busy)"]
    assert "replicas" not in kind(documents, "Deployment", "r-worker")["spec"]


def test_only_kdaif_reaches_its_valkey() -> None:
    policy = kind(rendered({}), "NetworkPolicy", "r-valkey")["spec"]
    peers = policy["ingress"][0]["from"]
    assert peers[0]["podSelector"]["matchExpressions"][0]["values"] == ["server", "worker"]
    assert (len(peers), policy["egress"]) == (1, [])


def test_passwords_come_from_secrets() -> None:
    environment = {each["name"]: each for each in pods(rendered(VALUES["secret"]))["r-server"]["containers"][0]["env"]}
    assert environment["KDAIF_REDIS_URL"]["valueFrom"]["secretKeyRef"] == {"name": "redis", "key": "url"}


def test_gpus_are_asked_of_the_cluster_and_offered_to_jobs() -> None:
    pod = pods(rendered(VALUES["gpus"]))["r-worker"]
    container = pod["containers"][0]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert environment["KDAIF_PROCESSES_PER_JOB"] == "2"
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert {"name": mounts["/dev/shm"], "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}} in pod["volumes"]
    assert (environment["KDAIF_GPUS"], environment["KDAIF_LABELS"]) == ("2", "a100,big")


def test_mutual_tls_takes_the_authority_from_the_same_secret() -> None:
    container = pods(rendered(VALUES["mutual tls"]))["r-server"]["containers"][0]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["KDAIF_TLS_CLIENT_CA_FILE"] == "/tls/ca.crt"
    assert "KDAIF_PLAINTEXT" not in environment


def test_who_asks_the_cluster_how_to_speak_to_a_server_is_told_of_tls() -> None:
    told = {
        case: kind(rendered(VALUES[case]), "Service", "r-server")["spec"]["ports"][0]["appProtocol"]
        for case in ("default", "mutual tls")
    }
    assert told == {"default": "kubernetes.io/h2c", "mutual tls": "https"}


def test_hosts_find_the_first_of_them_and_nobody_else_reaches_them() -> None:
    documents = rendered(VALUES["hosts"])
    group = kind(documents, "StatefulSet", "r-worker")["spec"]
    assert (group["replicas"], group["podManagementPolicy"]) == (2, "Parallel")
    assert not [each for each in documents if each["kind"] == "Deployment" and each["metadata"]["name"] == "r-worker"]
    service = kind(documents, "Service", group["serviceName"])["spec"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    labels = group["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    environment = {each["name"]: each for each in pods(documents)["r-worker"]["containers"][0]["env"]}
    assert environment["KDAIF_HOSTS"]["value"] == "2"
    assert environment["KDAIF_RENDEZVOUS"]["value"] == f"r-worker-0.r-worker:{service['ports'][0]['port']}"
    rank = environment["KDAIF_HOST_RANK"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert rank == "metadata.labels['apps.kubernetes.io/pod-index']"
    peers = kind(documents, "NetworkPolicy", "r-worker")["spec"]["ingress"][-1]
    assert peers == {"from": [{"podSelector": {"matchLabels": service["selector"]}}]}


def test_a_group_of_hosts_is_not_scaled() -> None:
    with pytest.raises(helm_python.HelmError, match=r"set autoscaling\.enabled to false"):
        rendered({"worker": {"hosts": 2}, "autoscaling": {"enabled": True}})


@pytest.mark.parametrize("case", VALUES)
def test_the_settings_that_the_chart_makes_are_settings(case: str) -> None:
    from kdaif_server.settings import ServerSettings
    from kdaif_worker.settings import WorkerSettings

    for name, model in (("r-server", ServerSettings), ("r-worker", WorkerSettings)):
        known = {f"KDAIF_{field.upper()}" for field in model.model_fields}
        given = {each["name"] for each in pods(rendered(VALUES[case]))[name]["containers"][0]["env"]}
        assert given <= known, name


def test_no_redis_is_refused() -> None:
    with pytest.raises(helm_python.HelmError, match=r"set redis\.url"):
        rendered({"valkey": {"enabled": False}})

"""The manifests fit Kubernetes's schemas, each other and the service."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings
from tests.docker.dashboards import DOCKER, panels, selectors

FOLDER = DOCKER / "kubernetes"
VERSION = "1.34"
COMPONENT = "app.kubernetes.io/component"
# No package has the schemas of these; the members used here, as their references spell them.
KEDA_TRIGGER = {"type", "name", "metricType", "metadata"}
KEDA_PROMETHEUS = {"serverAddress", "query", "threshold", "ignoreNullValues"}
KEDA_SPEC = {
    *("scaleTargetRef", "pollingInterval", "minReplicaCount", "maxReplicaCount"),
    *("fallback", "advanced", "triggers"),
}
MONITOR_SPEC = {"jobLabel", "selector", "endpoints"}
CUSTOM_KINDS = {"ScaledObject", "ServiceMonitor"}
Manifest = Mapping[str, Any]


def manifests() -> list[Manifest]:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    found: list[Manifest] = []
    for name in kustomization["resources"]:
        found += yaml.safe_load_all((FOLDER / name).read_text())
    return found


def of_kind(*kinds: str) -> dict[str, Manifest]:
    return {m["metadata"]["name"]: m for m in manifests() if m["kind"] in kinds}


def containers() -> Iterator[tuple[str, Manifest]]:
    for name, workload in of_kind("Deployment", "StatefulSet").items():
        for container in workload["spec"]["template"]["spec"]["containers"]:
            yield name, container


def test_manifests_fit_the_schemas_of_kubernetes() -> None:
    """Strictly: an unknown member is an error."""
    for manifest in manifests():
        if manifest["kind"] not in CUSTOM_KINDS:
            kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kustomize_renders_them() -> None:
    """All of them, into one namespace."""
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    assert len(rendered) == len(manifests()) + 1  # the settings
    assert {m["metadata"]["namespace"] for m in rendered} == {"sagan"}
    for manifest in rendered:
        if manifest["kind"] not in CUSTOM_KINDS:
            kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_what_selects_pods_finds_some() -> None:
    """Services, budgets and policies name components that there are, and ports that are open."""
    workloads = of_kind("Deployment", "StatefulSet")
    assert {w["spec"]["template"]["metadata"]["labels"][COMPONENT] for w in workloads.values()} == (
        set(workloads)
    )
    ports = {
        n: {p["name"] for _, c in containers() if _ == n for p in c["ports"]} for n in workloads
    }
    for name, service in of_kind("Service").items():
        assert service["spec"]["selector"] == {COMPONENT: name}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports[name]
    for name, budget in of_kind("PodDisruptionBudget").items():
        assert budget["spec"]["selector"]["matchLabels"] == {COMPONENT: name}
        assert workloads[name]["spec"].get("replicas") != 1
    for container in (c for _, c in containers()):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            assert port is None or port in {p["name"] for p in container["ports"]}


def test_every_container_is_confined() -> None:
    """No root, no writable root, no capability, no more rights; bounded memory."""
    for workload in of_kind("Deployment", "StatefulSet").values():
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
    for name, container in containers():
        confined = container["securityContext"]
        assert confined["readOnlyRootFilesystem"], name
        assert confined["allowPrivilegeEscalation"] is False, name
        assert confined["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"]["limits"]["memory"], name


def test_a_pod_is_given_the_time_that_it_may_take_to_drain() -> None:
    """Otherwise what it had begun would be killed."""
    settings = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["configMapGenerator"][0]
    given = dict(literal.split("=") for literal in settings["literals"])
    assert {name.removeprefix("SAGAN_").lower() for name in given} <= set(Settings.model_fields)
    for workload in of_kind("Deployment").values():
        pod = workload["spec"]["template"]["spec"]
        slept_s = pod["containers"][0].get("lifecycle", {}).get("preStop", {})
        before_s = slept_s.get("sleep", {}).get("seconds", 0)
        assert pod["terminationGracePeriodSeconds"] >= before_s + float(given["SAGAN_DRAIN_S"]) + 5


def test_workers_scale_by_metrics_that_dashboards_show_too() -> None:
    """Of the deployment that there is; an outage of Prometheus does not scale it down."""
    (scaled,) = of_kind("ScaledObject").values()
    spec = scaled["spec"]
    assert set(spec) == KEDA_SPEC
    worker = of_kind("Deployment")[spec["scaleTargetRef"]["name"]]
    assert "replicas" not in worker["spec"]
    assert spec["minReplicaCount"] >= 1
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    shown = {s.split("{")[0] for panel in panels() for e in panel.expressions for s in selectors(e)}
    shown |= {"up"}  # Prometheus's own
    for trigger in spec["triggers"]:
        assert set(trigger) == KEDA_TRIGGER
        assert set(trigger["metadata"]) == KEDA_PROMETHEUS
        assert trigger["metricType"] == "AverageValue"  # the one that fallback knows
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert {s.split("{")[0] for s in selectors(trigger["metadata"]["query"])} <= shown


# Every 5 s: a minute of a fresh install, then workers at work, then Redis away and no worker read,
# then nobody read.
READ = {
    'up{namespace="sagan",job="api"}': "1x47 stale",
    'sagan_model_info{namespace="sagan",model="dogs"}': "_x12 1x35 stale",
    'sagan_queue_depth_images{namespace="sagan",model="dogs",priority="interactive"}': (
        "_x12 30x17 stale"
    ),
    'sagan_device_busy_seconds_total{namespace="sagan",pod="a"}': "_x12 0+4x17 stale",
}
SCALED_BY: dict[str, dict[str, list[float]]] = {
    "queue": {"50s": [0], "145s": [30], "235s": [], "290s": []},
    "busy": {"50s": [0], "145s": [0.8], "235s": [], "290s": []},
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_nothing_to_do_is_zero_and_nothing_known_is_no_value(tmp_path: Path) -> None:
    """A fresh install does not bring `fallback` about; an outage of Redis or Prometheus does."""
    (scaled,) = of_kind("ScaledObject").values()
    queries = {t["name"]: t["metadata"]["query"] for t in scaled["spec"]["triggers"]}
    tests = [
        {
            "expr": queries[name],
            "eval_time": at,
            "exp_samples": [{"labels": "{}", "value": value} for value in values],
        }
        for name, expected in SCALED_BY.items()
        for at, values in expected.items()
    ]
    series = [{"series": name, "values": values} for name, values in READ.items()]
    written = tmp_path / "scaling_test.yml"
    written.write_text(
        yaml.safe_dump(
            {"tests": [{"interval": "5s", "input_series": series, "promql_expr_test": tests}]}
        )
    )
    done = subprocess.run(
        ["promtool", "test", "rules", str(written)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_replicas_scale_by_the_autoscaler_alone() -> None:
    """A number in the manifest would be set back by every apply."""
    (scaler,) = of_kind("HorizontalPodAutoscaler").values()
    target = scaler["spec"]["scaleTargetRef"]
    assert "replicas" not in of_kind(target["kind"])[target["name"]]["spec"]


def test_an_outage_of_redis_takes_no_replica_from_the_service_and_restarts_nothing() -> None:
    """What needs Redis is asked of workers alone, whose Service nobody calls."""
    asked = {
        (name, probe): container[probe]["httpGet"]["path"]
        for name, container in containers()
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        if "httpGet" in container.get(probe, {})
    }
    needs_redis = {probe for probe, path in asked.items() if path == "/readyz"}
    assert needs_redis == {("worker", "readinessProbe")}


def test_prometheus_finds_every_component_under_its_job_name() -> None:
    """The one that dashboards and alerts ask for."""
    (monitor,) = of_kind("ServiceMonitor").values()
    assert set(monitor["spec"]) == MONITOR_SPEC
    assert monitor["spec"]["jobLabel"] == COMPONENT
    (expression,) = monitor["spec"]["selector"]["matchExpressions"]
    endpoints = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
    services = of_kind("Service")
    assert sorted(expression["values"]) == sorted(services)
    for name, service in services.items():
        assert service["metadata"]["labels"][COMPONENT] == name
        assert endpoints & {port["name"] for port in service["spec"]["ports"]}

"""The manifests fit Kubernetes's schemas, each other and the service."""

from __future__ import annotations

import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings
from tests.docker.dashboards import DOCKER
from tests.docker.manifests import COMPONENT, FOLDER, containers, manifests, of_kind

SCALING = (DOCKER.parent / "docs" / "scaling.md").read_text()
VERSION = "1.34"
# No package has the schemas of these; a ServiceMonitor's members, as its reference spells them.
MONITOR_SPEC = {"jobLabel", "selector", "endpoints"}
CUSTOM_KINDS = {"ScaledObject", "ServiceMonitor"}


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


def test_a_checkpoint_of_yours_is_a_volume_that_workers_read() -> None:
    """With the two lines that are there for it."""
    text = (FOLDER / "worker.yaml").read_text()
    workload = next(yaml.safe_load_all(text.replace("# - {name: runs", "- {name: runs")))
    kubernetes_validate.validate(workload, VERSION, strict=True)
    pod = workload["spec"]["template"]["spec"]
    (volume,) = (v for v in pod["volumes"] if v["name"] == "runs")
    (mount,) = (m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "runs")
    assert mount["mountPath"] == "/runs"
    assert mount["readOnly"]
    assert volume["persistentVolumeClaim"]["readOnly"]


def test_the_ingress_of_the_handbook_fits_and_keeps_metrics_inside() -> None:
    """It names paths, and none that /metrics is below."""
    (written,) = re.findall(
        r"^```yaml\n(.*?kind: Ingress.*?)^```", SCALING, re.DOTALL | re.MULTILINE
    )
    ingress = yaml.safe_load(written)
    kubernetes_validate.validate(ingress, VERSION, strict=True)
    paths = ingress["spec"]["rules"][0]["http"]["paths"]
    assert {path["backend"]["service"]["name"] for path in paths} <= set(of_kind("Service"))
    exact = {path["path"] for path in paths if path["pathType"] == "Exact"}
    assert exact == {"/"}
    assert not {path["path"] for path in paths if path["path"] not in exact} & {"/", "/metrics"}
    assert "/studio" in {path["path"] for path in paths}


def test_redis_is_ready_when_it_takes_commands() -> None:
    """Not while it loads its file: redis-cli exits with 0 then, too."""
    redis = next(c for _, c in containers() if c["name"] == "redis")
    assert redis["readinessProbe"]["exec"]["command"][-1] == "redis-cli ping | grep -q PONG"


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

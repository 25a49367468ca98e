"""docker-compose.yml: what it publishes, how it confines, and that every knob is explained."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from app.settings import Settings
from tests.docker.dashboards import DOCKER

ROOT = DOCKER.parent
COMPOSE = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
OURS = ("api", "worker", "worker-gpu", "trainer")
# Of the machine, of the supervisor, or given by the images: nothing that .env would set.
NO_KNOBS = {
    *("redis_url", "host", "port", "data_dir", "workers", "worker_slot", "worker_metrics_port"),
    "device",
}


def services() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = yaml.safe_load(COMPOSE)["services"]
    return found


def knobs() -> dict[str, str]:
    """What .env.example lists, with the values it shows."""
    return dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))


def test_only_the_proxy_and_grafana_are_published_and_on_loopback() -> None:
    """Unless .env says otherwise, of each by itself: a public service has no public Grafana."""
    published = {name: s["ports"] for name, s in services().items() if "ports" in s}
    assert published == {
        "proxy": ["${PUBLISH:-127.0.0.1}:${PORT:-8000}:8000"],
        "grafana": ["${GRAFANA_PUBLISH:-127.0.0.1}:${GRAFANA_PORT:-3000}:3000"],
    }


def test_every_service_is_confined() -> None:
    """A read-only root and no new privileges; ours without capabilities."""
    for name, service in services().items():
        assert service["read_only"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "cap_drop" in service or name not in OURS, name


def test_only_who_has_to_can_reach_out() -> None:
    """The network inside has no way out."""
    assert yaml.safe_load(COMPOSE)["networks"]["inside"] == {"internal": True}
    outside = {name for name, s in services().items() if "edge" in s["networks"]}
    assert outside == {"proxy", "grafana", "trainer"}


def test_every_knob_of_the_compose_file_is_in_the_example_with_its_default() -> None:
    """And the example has none that does nothing."""
    interpolated = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE))
    passed_on = set(re.findall(r"^\s+([A-Z_]+):\s*$", COMPOSE, re.MULTILINE))
    passed_on |= set(re.findall(r"\{([A-Z_]+): \}", COMPOSE))
    listed = knobs()
    assert set(listed) == set(interpolated) | passed_on
    for name, default in interpolated.items():
        assert listed[name] == default, name
    for name in passed_on & {f"SAGAN_{field.upper()}" for field in Settings.model_fields}:
        default = Settings.model_fields[name.removeprefix("SAGAN_").lower()].default
        if default is None:
            assert listed[name] == ""
        else:
            assert listed[name] == (f"{default:g}" if isinstance(default, float) else str(default))


def test_every_setting_of_the_service_can_be_set() -> None:
    """Of those that are an operator's to set."""
    fields = set(Settings.model_fields) - NO_KNOBS
    assert {f"SAGAN_{field.upper()}" for field in fields} <= set(knobs())


def test_containers_are_given_the_time_that_they_may_take_to_drain() -> None:
    """SAGAN_DRAIN_S, and 5 seconds more."""
    drain_s = Settings.model_fields["drain_s"].default
    for name in ("api", "worker", "worker-gpu"):
        assert float(services()[name]["stop_grace_period"].removesuffix("s")) >= drain_s + 5


def test_redis_keeps_the_queue() -> None:
    """Written to disk, bounded, nothing evicted, behind a password."""
    command = services()["redis"]["command"]
    given = dict(zip(command[1::2], command[2::2], strict=True))
    assert given["--appendonly"] == "yes"
    assert given["--maxmemory-policy"] == "noeviction"
    assert {"--maxmemory", "--requirepass"} <= set(given)


def test_what_grows_is_bounded() -> None:
    """Of memory."""
    for name in (*OURS, "redis"):
        assert services()[name]["mem_limit"], name


def test_what_draws_on_the_cpu_is_built_with_the_torch_for_it() -> None:
    """CUDA's is gigabytes larger; the Dockerfile takes the argument that says so."""
    built = {name: services()[name]["build"].get("args", {}) for name in OURS}
    given = {name: args.get("TORCH_BACKEND") for name, args in built.items()}
    assert given == {"api": None, "worker": "cpu", "worker-gpu": None, "trainer": "cpu"}
    assert '--torch-backend "$TORCH_BACKEND"' in (DOCKER / "Dockerfile").read_text()


def test_a_second_gpu_has_a_worker_of_its_own() -> None:
    """With the lines that are there for it: the same service on another device."""
    text = re.sub(r"^  # (worker-gpu-1:|  )", r"  \1", COMPOSE, flags=re.MULTILINE)
    both = yaml.safe_load(text)["services"]
    first, second = dict(both["worker-gpu"]), dict(both["worker-gpu-1"])
    held = [
        service.pop("deploy")["resources"]["reservations"]["devices"][0]["device_ids"]
        for service in (first, second)
    ]
    assert held == [["0"], ["1"]]
    assert first == second


def test_redis_is_healthy_when_it_takes_commands() -> None:
    """Not while it loads its file: redis-cli exits with 0 then, too."""
    assert services()["redis"]["healthcheck"]["test"][-1] == "redis-cli ping | grep -q PONG"


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")
def test_haproxy_takes_its_configuration() -> None:
    """Without a warning."""
    config = str(DOCKER / "haproxy.cfg")
    done = subprocess.run(["haproxy", "-c", "-f", config], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "[WARNING]" not in done.stderr

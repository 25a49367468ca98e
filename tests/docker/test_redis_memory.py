"""What Redis keeps and what its container may take: one factor, wherever it is set or advised."""

from __future__ import annotations

import re

from tests.docker.dashboards import DOCKER
from tests.docker.manifests import containers
from tests.docker.test_compose import knobs

FACTOR = 2.5  # "two and a half times": a rewrite of the append-only file forks
DOCS = DOCKER.parent / "docs"
ADVICE = re.compile(r"`REDIS_MAXMEMORY=(\w+)` and `REDIS_MEMORY=(\w+)`")
MIB = {"m": 1, "mb": 1, "mi": 1, "g": 1024, "gb": 1024, "gi": 1024}


def mib(size: str) -> int:
    """What Redis (`2gb`), Docker (`5g`) or Kubernetes (`5Gi`) calls so, in MiB."""
    number, unit = re.fullmatch(r"(\d+)(\w+)", size).groups()  # type: ignore[union-attr]
    return int(number) * MIB[unit.lower()]


def in_kubernetes() -> tuple[str, set[str]]:
    """What Redis may keep, and what its container requests and may take."""
    redis = next(c for _, c in containers() if c["name"] == "redis")
    given = dict(zip(redis["args"][::2], redis["args"][1::2], strict=True))
    return given["--maxmemory"], {one["memory"] for one in redis["resources"].values()}


def test_a_container_has_two_and_a_half_times_what_redis_keeps() -> None:
    """In compose, in Kubernetes, in the advice; the comments and the handbook say the factor."""
    kept, taken = in_kubernetes()
    advised = ADVICE.findall((DOCS / "scaling.md").read_text())
    sizes = [(knobs()["REDIS_MAXMEMORY"], knobs()["REDIS_MEMORY"]), *advised]
    sizes += [(kept, size) for size in taken]
    assert len(sizes) == 3
    for maximum, memory in sizes:
        assert mib(memory) == FACTOR * mib(maximum)
    for file in (DOCKER.parent / "docker-compose.yml", DOCKER.parent / ".env.example"):
        assert "two and a half times" in file.read_text()
    for file in (DOCKER / "kubernetes" / "redis.yaml", DOCS / "operations.md"):
        assert "two and a half times" in file.read_text()


def test_the_handbook_tells_what_is_set() -> None:
    """Of compose in the table of its services, of Kubernetes where a large Redis is advised."""
    assert (
        f"`noeviction`, {mib(knobs()['REDIS_MAXMEMORY'])} MB"
        in (DOCS / "operations.md").read_text()
    )
    ((advised, _),) = ADVICE.findall((DOCS / "scaling.md").read_text())
    assert advised == in_kubernetes()[0]

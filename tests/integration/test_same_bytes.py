"""One request among random traffic, at every concurrency: the same bytes each time."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest

from tests.integration.service import START_S, Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]
DRAW_ANEW = {"Cache-Control": "no-cache"}  # else the API answers from its own cache
CONCURRENCIES = (1, 2, 3, 5, 8, 13, 24, 40, 64)
ROUNDS = 40
Asked = tuple[str, dict[str, str | int]]  # path and fields of a request
WALK: dict[str, str | int] = {"class": "zebra", "seed": 1, "to_class": "castle", "to_seed": 2}
PROBES: tuple[Asked, ...] = (
    ("/generate", {"class": "golden_retriever", "seed": 7}),
    ("/generate", {"class": "zebra", "seed": 2**32 - 1, "truncation": "0.5"}),
    ("/generate", {"class": "tabby", "seed": 3, "attention_scale": "0.5"}),
    ("/interpolate", WALK | {"frames": 7, "format": "strip"}),
)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


async def test_a_request_gets_the_same_bytes_in_whatever_company(service: Service) -> None:
    """Three pictures of the shipped checkpoint and the frames of a walk, each among strangers of
    all classes, truncations and attention scales.

    The crowd is another in size and make-up each time, so that the probes are drawn in batches of
    every size and at every place in them.
    """
    chance = random.Random(0)
    seen: dict[int, set[bytes]] = {probe: set() for probe in range(len(PROBES))}
    limits = httpx.Limits(max_connections=max(CONCURRENCIES))
    async with httpx.AsyncClient(
        base_url=service.url, timeout=START_S, limits=limits, headers=DRAW_ANEW
    ) as http:
        for turn in range(ROUNDS):
            probe = turn % len(PROBES)
            crowd = [stranger(chance) for _ in range(chance.choice(CONCURRENCIES) - 1)]
            place = chance.randint(0, len(crowd))
            crowd.insert(place, PROBES[probe])
            answers = await asyncio.gather(
                *(http.post(path, params=fields) for path, fields in crowd)
            )
            assert {answer.status_code for answer in answers} == {200}
            seen[probe].add(answers[place].content)
        batches = (await http.get("/metrics")).text
    assert [len(contents) for contents in seen.values()] == [1, 1, 1, 1]
    assert batch_sizes(batches) >= 4  # of the histogram's buckets, else the crowds were none


def stranger(chance: random.Random) -> Asked:
    """A request of any class, seed, truncation and attention scale; some are walks."""
    fields: dict[str, str | int] = {"class": chance.randrange(10), "seed": chance.getrandbits(32)}
    if chance.random() < 0.3:
        fields["truncation"] = f"{chance.uniform(0.2, 2):.3f}"
    if chance.random() < 0.3:
        fields["attention_scale"] = f"{chance.uniform(0, 2):.3f}"
    if chance.random() < 0.1:
        way = {"to_class": chance.randrange(10), "to_seed": chance.getrandbits(32), "frames": 4}
        return "/interpolate", fields | way
    return "/generate", fields


def batch_sizes(metrics: str) -> int:
    """How many buckets of the batch size have been met."""
    lines = [one for one in metrics.splitlines() if one.startswith("sagan_batch_images_bucket")]
    counts = [0.0, *(float(line.split()[1]) for line in lines)]
    return sum(after > before for before, after in pairwise(counts))

"""LargeJob: many images through one job of POST /generate, and what its zip has in the end."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass
from typing import IO
from zipfile import ZipFile

import httpx

from tests.fake_renderer import FINGERPRINT
from tests.integration.faults.connection import Address
from tests.integration.faults.stack import Stack

FIRST_SEED = 2**31  # the load has smaller ones
PATIENCE_S = 600.0
POLL_S = 0.05
ANSWERED = 200


@dataclass(frozen=True)
class Found:
    """What a zip has: images that are missing, that are there twice, or that are not as they are.

    `num_images` files are in it.
    """

    num_images: int
    num_lost: int
    num_twice: int
    num_wrong: int

    @property
    def is_whole(self) -> bool:
        """Whether each image is there once, under its id."""
        return (self.num_lost, self.num_twice, self.num_wrong) == (0, 0, 0)


class LargeJob:
    """A job of a stack; any of its replicas can be asked for it."""

    def __init__(self, stack: Stack, num_images: int) -> None:
        self.stack = stack
        self.num_images = num_images
        self.path = ""

    @property
    def seeds(self) -> range:
        """Those of its images."""
        return range(FIRST_SEED, FIRST_SEED + self.num_images)

    async def order(self) -> None:
        """Orders it from the first replica."""
        params = {"class": "0", "seed": str(FIRST_SEED), "n": str(self.num_images)}
        async with httpx.AsyncClient(base_url=_url(self.stack.addresses[0])) as http:
            made = await http.post("/generate", params=params, headers={"Prefer": "respond-async"})
        assert made.status_code == 202, made.text
        self.path = made.headers["location"]

    async def drawn(self, num_images: int) -> int:
        """Waits until so many images of it are drawn, by the word of any replica.

        Returns how many are drawn then.
        """
        async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient() as http:
            while (found := await self._num_drawn(http)) < num_images:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
        return found

    async def begun(self) -> None:
        """Waits until a quarter is drawn, and not all: it is time for a fault."""
        assert await self.drawn(self.num_images // 4) < self.num_images

    async def whole(self) -> Found:
        """Waits until it is done and reads the zip from the last replica."""
        await self.drawn(self.num_images)
        return await self.read()

    async def read(self) -> Found:
        """Reads the zip from the last replica, while it is drawn."""
        address = _url(self.stack.addresses[-1])
        with tempfile.TemporaryFile() as file:
            async with (
                httpx.AsyncClient(base_url=address, timeout=PATIENCE_S) as http,
                http.stream("GET", f"{self.path}/result") as response,
            ):
                assert response.status_code == ANSWERED
                async for piece in response.aiter_raw():
                    file.write(piece)
            return self._compared(file)

    async def _num_drawn(self, http: httpx.AsyncClient) -> int:
        for address in self.stack.addresses:
            try:
                found = await http.get(f"{_url(address)}{self.path}")
            except httpx.TransportError:
                continue
            if found.status_code == ANSWERED:
                document = found.json()
                assert document["state"] in ("queued", "running", "done"), document
                return int(document["num_drawn"])
        return -1

    def _compared(self, file: IO[bytes]) -> Found:
        with ZipFile(file) as archive:
            names = Counter(archive.namelist())
            wanted = {f"{_image_id(seed)}.png": seed for seed in self.seeds}
            wrong = sum(
                archive.read(name) != f"{_image_id(wanted[name])}:{wanted[name] % 256}".encode()
                for name in names
                if name in wanted
            )
        return Found(
            num_images=names.total(),
            num_lost=len(wanted.keys() - names.keys()),
            num_twice=names.total() - len(names),
            num_wrong=wrong + len(names.keys() - wanted.keys()),
        )


def _image_id(seed: int) -> str:
    return f"{FINGERPRINT[:12]}-0-{seed}-n"


def _url(address: Address) -> str:
    return f"http://{address[0]}:{address[1]}"

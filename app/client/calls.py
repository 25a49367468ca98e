"""The calls of the API: what both clients send, and what they make of the response."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import httpx

from app.client.results import File, JobStatus
from app.errors import DeadlineExceededError, JobEndedError

Fields = Mapping[str, str | int | float | None]
ASK_AGAIN_S = (0.2, 2.0)  # the shortest and longest time between two looks at a job


@dataclass(frozen=True)
class Call:
    """One request; `repeatable`: a second one has no further effect."""

    method: str
    path: str
    params: Mapping[str, str | int | float] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True


@dataclass(frozen=True)
class Drawn:
    """An image of a response."""

    image_id: str
    seed: int
    model: str
    content: bytes
    media_type: str


def get(path: str, **fields: str | int | float | None) -> Call:
    """A call that changes nothing."""
    return Call("GET", path, given(fields))


def given(fields: Fields) -> dict[str, str | int | float]:
    """The fields without those that are None; a final `_` is removed: `class_` becomes `class`."""
    return {name.rstrip("_"): value for name, value in fields.items() if value is not None}


def generate(class_: str | int, **fields: str | int | float | None) -> Call:
    """One image."""
    return _drawing("/generate", class_, fields)


def generate_many(class_: str | int, **fields: str | int | float | None) -> Call:
    """Several images in one JSON document."""
    return _drawing("/generate", class_, {**fields, "layout": "json"})


def walk(class_: str | int, **fields: str | int | float | None) -> Call:
    """The frames between two images."""
    return _drawing("/interpolate", class_, fields)


def attention(image_id: str, x: int, y: int, **fields: str | int | float | None) -> Call:
    """What the network attended to at the pixel (x, y)."""
    return get("/attention-map", image=image_id, x=x, y=y, **fields)


def submit(class_: str | int, key: str | None, **fields: str | int | float | None) -> Call:
    """A job; without a key of the caller's it has a random one, so that it can be repeated."""
    headers = {"Prefer": "respond-async", "Idempotency-Key": key or uuid4().hex}
    return Call("POST", "/generate", given({"class": class_, **fields}), headers)


def image_path(image_id: str) -> str:
    """The path of an image."""
    return f"/images/{quote(image_id, safe='')}"


def job_path(job_id: str, end: str = "") -> str:
    """The path of a job."""
    return f"/jobs/{quote(job_id, safe='')}{end}"


def drawn(response: httpx.Response) -> Drawn:
    """The image of a response."""
    headers = response.headers
    return Drawn(
        image_id=headers["x-image-id"],
        seed=int(headers["x-seed"]),
        model=unquote(headers["x-model"]),
        content=response.content,
        media_type=headers["content-type"],
    )


def all_drawn(response: httpx.Response) -> list[Drawn]:
    """The images of a JSON document."""
    document: dict[str, Any] = response.json()
    return [
        Drawn(
            image_id=one["image_id"],
            seed=one["seed"],
            model=document["model"],
            content=b64decode(one["data"]),
            media_type=one["media_type"],
        )
        for one in document["images"]
    ]


def weights(response: httpx.Response) -> list[list[float]]:
    """The attention map (h×w, sum 1) of the one pixel that was asked for."""
    found: list[list[float]] = response.json()["weights"][0]
    return found


def pause_s(seconds_left: float | None) -> float:
    """How long to wait until the next look at a job."""
    shortest, longest = ASK_AGAIN_S
    return longest if seconds_left is None else min(longest, max(shortest, seconds_left))


def _drawing(path: str, class_: str | int, fields: Fields) -> Call:
    has_seed = fields.get("seed") is not None
    return Call("POST", path, given({"class": class_, **fields}), repeatable=has_seed)


def refuse_late(until_s: float | None) -> None:
    """Raises DeadlineExceededError after this time of the monotonic clock."""
    if until_s is not None and time.monotonic() >= until_s:
        raise DeadlineExceededError("the job has not ended in this time; it goes on")


def refuse_unfinished(status: JobStatus) -> None:
    """Raises JobEndedError unless the job is done."""
    if status.state != "done":
        why = f": {status.detail}" if status.detail else ""
        raise JobEndedError(f"the job is {status.state}{why}")


def file_of(response: httpx.Response) -> File:
    """The file that a response is."""
    return File(response.content, response.headers["content-type"])

"""Yesterday's version: what its readers accepted, recorded when they refused unknown members.

These were the strictest readers that this project ever had. Today's replicas and workers must be
able to share a Redis with them. When that version need not be served any longer, record a newer one
in its place.

Run: python -m tests.app.queue.yesterday MODULE. It runs a module of today, such as app.api.main,
that can read only what yesterday's version could.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from app.queue import messages

STRICT = ConfigDict(extra="forbid")


@dataclass(config=STRICT)
class OldJob:
    """A job; what has no default must be there."""

    fingerprint: str
    label: int
    seed: int
    job_id: str
    truncation_thousandths: int | None = None
    kind: Literal["sample", "attention", "attention-all", "frame"] = "sample"
    output: Literal["png", "webp", "jpeg", "raw", "json", "npy", "bin"] = "png"
    queries: tuple[tuple[int, int], ...] = ()
    layer: int = -1
    view: Literal["overlay", "heatmap", "pair"] = "overlay"
    size_px: int | None = None
    to_label: int = 0
    to_seed: int = 0
    part_thousandths: int = 0
    priority: Literal["interactive", "bulk"] = "interactive"
    request_id: str | None = None
    traceparent: str | None = None


@dataclass(config=STRICT)
class OldTimings:
    """Seconds of each stage."""

    queue_s: float
    batch_s: float
    model_s: float
    encode_s: float


@dataclass(config=STRICT)
class OldReply:
    """The head of a reply."""

    job_id: str
    media_type: str
    error: str | None
    detail: str
    timings: OldTimings
    batch_size: int
    renderer: str


@dataclass(config=STRICT)
class OldClass:
    """A class of a model."""

    name: str
    wnid: str | None
    aliases: tuple[str, ...]


@dataclass(config=STRICT)
class OldCard:
    """A model card."""

    name: str
    fingerprint: str
    resolution: int
    classes: tuple[OldClass, ...]
    attention_grids: tuple[tuple[int, int], ...]
    renderer: str
    z_dim: int
    licence: str | None = None
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass
class OldStatus:
    """What a worker says about itself; of these, unknown members were ignored."""

    fingerprints: tuple[str, ...]
    device: str
    pid: int
    images_per_s: float


JOB, REPLY, CARD, STATUS = map(TypeAdapter[Any], (OldJob, OldReply, OldCard, OldStatus))


def read_old_only() -> None:
    """Makes this process refuse what yesterday's version refused.

    To be called before modules are loaded that import the decoders.
    """

    def strict(adapter: TypeAdapter[Any], decode: Callable[..., Any]) -> Callable[..., Any]:
        def read(data: bytes, *rest: bytes) -> Any:
            try:
                adapter.validate_json(data)
            except ValueError as error:
                raise messages.DecodeError(
                    f"yesterday's version cannot read it: {error}"
                ) from error
            return decode(data, *rest)

        return read

    for name, adapter in (("job", JOB), ("reply", REPLY), ("card", CARD), ("status", STATUS)):
        decode = getattr(messages, f"decode_{name}")
        setattr(messages, f"decode_{name}", strict(adapter, decode))


if __name__ == "__main__":
    read_old_only()
    runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)

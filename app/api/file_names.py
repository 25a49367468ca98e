"""File names of responses: what "Save as" and `curl -OJ` call an image (RFC 6266)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import quote

from app.queue.messages import WHOLE, Job, ModelCard

MAX_NAME = 80  # characters of a class's name
SUFFIXES = {"image/png": "png", "image/apng": "png", "image/webp": "webp", "image/jpeg": "jpeg"}
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


class _Spelling(NamedTuple):
    """A name in ASCII, and percent-encoded UTF-8 if it has other letters."""

    plain: str
    encoded: str


@lru_cache(maxsize=4096)
def _spelt(name: str) -> _Spelling:
    """The name of a class as it may stand in a file's name on any system."""
    safe = _NOT_IN_NAMES.sub("_", normalize("NFC", name))[:MAX_NAME].strip("._-")
    plain = normalize("NFKD", safe).encode("ascii", "ignore").decode().strip("._-") or "image"
    return _Spelling(plain, "" if plain == safe or not safe else quote(safe))


def image_disposition(card: ModelCard, job: Job) -> str:
    """`inline; filename="zebra-3.png"`; with a truncation or attention scale, these follow."""
    name = card.class_text(job.label, job.mix)
    if job.truncation_thousandths is None and job.attention_scale_thousandths == WHOLE:
        plain, encoded = _spelt(name)
        if not encoded and job.kind == "sample":  # the usual case
            return f'inline; filename="{plain}-{job.seed}.{job.output}"'
    ending = f"-{job.seed}"
    if job.truncation_thousandths is not None:
        ending += f"-t{job.truncation_thousandths / WHOLE:g}"
    if job.attention_scale_thousandths != WHOLE:
        ending += f"-a{job.attention_scale_thousandths / WHOLE:g}"
    if job.kind != "sample":
        ending += "-attention"
    return _disposition(name, f"{ending}.{job.output}")


def combined_disposition(
    card: ModelCard, jobs: Sequence[Job], kind: str, media_type: str
) -> str | None:
    """The same for a file that combines the images of these jobs; None if it is no image.

    A sheet is `zebra-3x4.png`, a walk `zebra-3-to-horse-5.webp`, an image enlarged twice
    `zebra-3-x2.png`.
    """
    suffix, first, last = SUFFIXES.get(media_type), jobs[0], jobs[-1]
    if suffix is None:
        return None
    ending = f"-{first.seed}"
    if kind == "walk":
        ending += f"-to-{_spelt(card.classes[last.label].name).plain}-{last.seed}"
    elif len(jobs) > 1:
        ending += f"x{len(jobs)}"
    elif kind != "x1":
        ending += f"-{kind}"
    return _disposition(card.class_text(first.label, first.mix), f"{ending}.{suffix}")


def _disposition(name: str, ending: str) -> str:
    plain, encoded = _spelt(name)
    if not encoded:
        return f'inline; filename="{plain}{ending}"'
    return f"inline; filename=\"{plain}{ending}\"; filename*=UTF-8''{encoded}{ending}"

"""Headers of responses with images: entity tags, file names, stage times, cache control."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, Protocol
from unicodedata import normalize
from urllib.parse import quote

from starlette.requests import Request

from app.api.combined_files import MAKER, NamedFile
from app.api.compression import VARIES
from app.api.requests import accept_decides, prefix_of
from app.queue.messages import WHOLE, Job, ModelCard, Timings

IMMUTABLE = "public, max-age=31536000, immutable"  # for an image id
# A class and seed do not name a checkpoint, so their image changes with the served model.
REVALIDATE = "public, no-cache"  # may be stored, but its ETag must be checked before each use
NO_STORE = "no-store"  # for a random seed
MAXIMUM_BYTES = 4  # of a float32
PLAIN = "!#$&'()*+,/:;=?@[]^`{|} "  # characters that are not quoted in a header
FRAME_ARITHMETIC = "mix2"  # changes when frames change while the renderer, and images, do not
MAX_NAME = 80  # characters of a class's name in a file's name
SUFFIXES = {"image/png": "png", "image/apng": "png", "image/webp": "webp", "image/jpeg": "jpeg"}
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@lru_cache(maxsize=256)
def _quoted(text: str, safe: str = ":+,;=@/") -> str:
    return quote(text, safe)


def entity_tag(job: Job, renderer: str) -> str:
    """A strong entity tag: image id, renderer, and a digest of an attention map's fields."""
    tag = f"{job.image_id}.{_quoted(renderer)}"
    if job.kind == "sample":
        return f'"{tag}"' if job.output == "png" else f'"{tag}.{job.output}"'
    shown = (job.view, job.size_px) if job.output == "png" else ()
    if job.kind == "frame":
        way = f"{job.to_label}-{job.to_seed}-{job.part_thousandths}"
        return f'"{tag}.{way}-{FRAME_ARITHMETIC}"'
    shows = repr((job.output, job.queries, job.layer, *shown)).encode()
    return f'"{tag}.{blake2b(shows, digest_size=8).hexdigest()}"'


def image_headers(
    request: Request, card: ModelCard, job: Job, etag: str, cache_control: str
) -> dict[str, str]:
    """The headers that an image's response and its 304 have in common."""
    image_id = etag[1 : etag.index(".")]  # with which every entity tag begins
    headers = {
        "X-Image-ID": image_id,
        "X-Seed": str(job.seed),
        "X-Model": _quoted(card.name, PLAIN),
        "ETag": etag,
        "Cache-Control": cache_control,
    }
    if accept_decides(request):
        headers["Vary"] = "Accept"
    if job.kind == "sample":
        headers["Content-Location"] = f"{prefix_of(request)}/images/{image_id}.{job.output}"
        headers["Content-Disposition"] = image_disposition(card, job)
    elif job.output == "png":
        headers["Content-Disposition"] = image_disposition(card, job)
    elif job.kind in ("attention", "attention-all"):
        headers["Vary"] = f"{headers['Vary']}, {VARIES}" if "Vary" in headers else VARIES
    return headers


class CombinedFile(Protocol):
    """Several images packed into one response: grid, zip, JSON or animation."""

    @property
    def kind(self) -> str:
        """The part of the entity tag that says how the images are combined."""

    @property
    def media_type(self) -> str:
        """The media type of the file."""

    def make(self, images: Sequence[NamedFile]) -> bytes:
        """The file."""


def combined_etag(image_id: str, combined: CombinedFile, etags: Iterable[str]) -> str:
    """A strong entity tag of a file that combines these images."""
    made_of = repr((combined, MAKER, *etags)).encode()
    return f'"{image_id}.{combined.kind}.{blake2b(made_of, digest_size=8).hexdigest()}"'


def combined_headers(
    request: Request,
    card: ModelCard,
    jobs: Sequence[Job],
    combined: CombinedFile,
    etag: str,
    cache_control: str,
) -> dict[str, str]:
    """The headers that the response with a combined file and its 304 have in common."""
    headers = image_headers(request, card, jobs[0], etag, cache_control)
    del headers["Content-Location"], headers["Content-Disposition"]
    if named := combined_disposition(card, jobs, combined.kind, combined.media_type):
        headers["Content-Disposition"] = named
    headers["X-Image-ID"] = ", ".join(job.image_id for job in jobs if job.kind == "sample")
    return headers


def attention_shape(card: ModelCard, job: Job, body: bytes) -> str:
    """`H,W,h,w` of all maps: (h, w) is on the card, and the size of `body` gives (H, W)."""
    height, width = card.attention_grids[job.layer]
    num_queries = len(body) // (MAXIMUM_BYTES + height * width)
    scale = math.isqrt(num_queries // (height * width))
    return f"{scale * height},{scale * width},{height},{width}"


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
    """The Content-Disposition of a file that combines these images; None if it is no image.

    A sheet of four images from seed 3 is `zebra-3x4.png`, a walk `zebra-3-to-horse-5.webp`, an
    image of twice the size `zebra-3-x2.png`.
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


def server_timing(timings: Timings, *, cached: bool, **more_s: float) -> str:
    """The header Server-Timing: stages and `more_s` in milliseconds, 0 for a cached image."""
    entries = []
    for name, seconds in (timings.stages | more_s).items():
        entries.append(f"{name};dur={1000 * seconds:.2f}")
    return ", ".join([*entries, "cache;desc=hit"] if cached else entries)


def slowest(timings: Iterable[Timings]) -> Timings:
    """The longest time of any job in each stage."""
    stages = [(one.queue_s, one.batch_s, one.model_s, one.encode_s) for one in timings]
    return Timings(*map(max, zip(*stages, strict=True)))

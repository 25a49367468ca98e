"""The messages that travel through Redis, their JSON, and the ids of jobs and images.

Each message has the version of its format in the member `version`; a message without it has version
1. A reader ignores members that it does not know and refuses versions that it does not know. So a
new member that older readers may ignore keeps the version, and a change that they would misread
needs the next one. A job has the version that its own members need: an old worker would draw a job
with an attention scale as if it had none, so such a job has version 2, and one with a mix of
classes has version 3. All other jobs have version 1.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Final, Literal, TypeVar, get_args

from pydantic import TypeAdapter

from app.errors import InvalidValueError
from class_names import MAX_MIXED, Mix, mix_of, written_mix

_random = Random()  # noqa: S311 - seeded by the system: an id must be new, and is no secret
os.register_at_fork(after_in_child=_random.seed)
FORMAT_VERSION: Final = 1
SCALED_JOB_VERSION: Final = 2  # of a job with an attention scale other than 1
MIXED_JOB_VERSION: Final = 3  # of a job of several classes
Kind = Literal["sample", "attention", "attention-all", "frame"]
View = Literal["overlay", "heatmap", "pair"]
FileFormat = Literal["png", "webp", "jpeg"]  # of an image
Output = FileFormat | Literal["raw", "json", "npy", "bin"]
Priority = Literal["interactive", "bulk"]
Point = tuple[int, int]

OUTPUTS: Mapping[Kind, tuple[Output, ...]] = {
    "sample": ("png", "webp", "jpeg", "raw"),
    "attention": ("png", "json", "npy"),
    "attention-all": ("bin",),
    "frame": ("png",),
}
MEDIA_TYPES: Mapping[Output, str] = {
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "raw": "application/octet-stream",  # H×W×3 uint8, row by row, RGB
    "json": "application/json",
    "npy": "application/x-npy",  # (Q, h, w) float32
    "bin": "application/octet-stream",  # H·W float32 maxima, then H·W×h·w uint8, little-endian
}
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
T = TypeVar("T")
MAX_SEED = 2**32 - 1
MAX_TRUNCATION_THOUSANDTHS = 4000
MAX_ATTENTION_SCALE_THOUSANDTHS = 2000
WHOLE = 1000  # thousandths: the attention scale that draws as the checkpoint was trained
FINGERPRINT_DIGITS = 12

_NUMBER = r"0|[1-9][0-9]{0,9}"
_PART = rf"(?:{_NUMBER})x[1-9][0-9]{{0,2}}"  # a label and its weight in thousandths
_CLASSES = rf"{_NUMBER}|{_PART}(?:_{_PART}){{1,{MAX_MIXED - 1}}}"
IMAGE_ID_PATTERN = (
    rf"[0-9a-f]{{{FINGERPRINT_DIGITS}}}-({_CLASSES})-({_NUMBER})-(n|{_NUMBER})(-a({_NUMBER}))?"
)
_IMAGE_ID = re.compile(IMAGE_ID_PATTERN, re.ASCII)


def new_id() -> str:
    """A random id of 32 hex digits; no two processes make the same one."""
    return f"{_random.getrandbits(128):032x}"


class DecodeError(ValueError):
    """Data from Redis that this version cannot decode."""


class FormatVersionError(DecodeError):
    """A message whose format has a version that this process does not know."""


@dataclass(frozen=True)
class Job:
    """One image, or one image's attention maps, to be made: the unit of the queue.

    `mix` has two or three classes with their weights, and `label` is the first of them; an empty
    `mix` is the class `label` alone. γ of every self-attention of the generator is multiplied by
    `attention_scale_thousandths` / 1000.
    `queries` are pixels (x, y) of the image; `layer` counts the attention layers (-1: the last);
    `size_px` is the side of an attention PNG (None: the image's own). A job of kind "frame" makes
    an image between two others: the one of `label` and `seed`, and the one of `to_label` and
    `to_seed`. `part_thousandths` says how far it is from the first (0) to the second (1000).
    """

    fingerprint: str
    label: int
    seed: int
    truncation_thousandths: int | None = None
    kind: Kind = "sample"
    output: Output = "png"
    queries: tuple[Point, ...] = ()
    layer: int = -1
    view: View = "overlay"
    size_px: int | None = None
    to_label: int = 0
    to_seed: int = 0
    part_thousandths: int = 0
    attention_scale_thousandths: int = WHOLE
    mix: Mix = ()
    priority: Priority = "interactive"
    request_id: str | None = None
    traceparent: str | None = None  # the request's span (W3C Trace Context), where it is traced
    job_id: str = field(default_factory=new_id)
    version: Literal[1, 2, 3] = FORMAT_VERSION  # set by what the other members need

    def __post_init__(self) -> None:
        plain = self.attention_scale_thousandths == WHOLE
        version = FORMAT_VERSION if plain else SCALED_JOB_VERSION
        version = MIXED_JOB_VERSION if self.mix else version
        if self.version != version:
            object.__setattr__(self, "version", version)
        if self.mix and (not is_canonical(self.mix) or self.mix[0][0] != self.label):
            raise ValueError(f"{self.mix!r:.80} is not how a mix of class {self.label} is written")
        if self.output not in OUTPUTS.get(self.kind, ()):
            raise ValueError(f"a job of kind {self.kind!r} has no output {self.output!r}")
        if (self.kind == "attention") != bool(self.queries):
            raise ValueError(f"a job of kind {self.kind!r} has {len(self.queries)} queries")
        if self.mix and self.kind == "frame":
            raise ValueError("a walk leads from class to class, and has no mix")

    @property
    def truncation(self) -> float | None:
        """The truncation as the sampler takes it."""
        thousandths = self.truncation_thousandths
        return None if thousandths is None else thousandths / 1000

    @property
    def attention_scale(self) -> float:
        """The attention scale as the sampler takes it."""
        return self.attention_scale_thousandths / WHOLE

    @property
    def classes(self) -> int | dict[int, float]:
        """The class, or the weights of several, as the sampler takes them."""
        return {label: part / WHOLE for label, part in self.mix} if self.mix else self.label

    @property
    def image_id(self) -> str:
        """The id of the image that this job makes or looks into."""
        return format_image_id(
            self.fingerprint,
            self.label,
            self.seed,
            self.truncation_thousandths,
            self.attention_scale_thousandths,
            self.mix,
        )

    def encode(self) -> bytes:
        """JSON that `decode_job` reads back to an equal job; members at their default are left out.

        So a default is part of the format: a version that changed one would misread older jobs.
        """
        return _JOB.dump_json(self, exclude_defaults=True)


def log_fields(jobs: Iterable[Job]) -> dict[str, list[str]]:
    """The `extra` of a log line about `jobs`."""
    jobs = list(jobs)
    return {
        "jobs": [job.job_id for job in jobs],
        "request_ids": sorted({job.request_id for job in jobs if job.request_id is not None}),
    }


_JOB = TypeAdapter(Job)


def decode_job(data: bytes) -> Job:
    """The job that `Job.encode` wrote; raises DecodeError for anything else."""
    return _decode(_JOB, data, "job", newest=MIXED_JOB_VERSION)


@dataclass(frozen=True)
class Timings:
    """Seconds that a job spent in each stage."""

    queue_s: float = 0.0
    batch_s: float = 0.0
    model_s: float = 0.0
    encode_s: float = 0.0

    @property
    def stages(self) -> dict[str, float]:
        """The seconds by the name of the stage."""
        return {
            "queue": self.queue_s,
            "batch": self.batch_s,
            "model": self.model_s,
            "encode": self.encode_s,
        }


@dataclass(frozen=True)
class Reply:
    """The one reply to a job: a body, or the slug and detail of an error."""

    job_id: str
    media_type: str = "image/png"
    body: bytes = b""
    error: str | None = None  # the slug of an error in app.errors
    detail: str = ""
    timings: Timings = Timings()
    batch_size: int = 1
    renderer: str = ""
    version: Literal[1] = FORMAT_VERSION

    @property
    def ok(self) -> bool:
        """Whether the job succeeded."""
        return self.error is None

    def encode_head(self) -> bytes:
        """Everything but the body, as JSON; the body travels beside it as it is."""
        return _REPLY.dump_json(self, exclude={"body", "version"})


_REPLY = TypeAdapter(Reply)


def decode_reply(head: bytes, body: bytes) -> Reply:
    """The reply with this head and body; raises DecodeError when the head is not one."""
    reply = _decode(_REPLY, head, "reply")
    object.__setattr__(reply, "body", body)  # nobody has it yet; a copy would cost 20 µs
    return reply


@dataclass(frozen=True)
class ModelClass:
    """One class of a model; its index in `ModelCard.classes` is its label."""

    name: str
    wnid: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelCard:
    """What the API knows about a model; its workers publish it with their heartbeats.

    `attention_grids` has (h, w) for each attention layer, first to last, and `attention_gammas`
    has γ of each. `size_bytes` is that of the generator's weights. Cards of workers of an older
    version have None for `attention_gammas` and `size_bytes`. `removed` is set when the operator
    has removed the model and its last worker gives it up: the model is then retired.
    """

    name: str
    fingerprint: str
    resolution: int
    classes: tuple[ModelClass, ...]
    attention_grids: tuple[tuple[int, int], ...]
    renderer: str
    z_dim: int
    licence: str | None = None
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    attention_gammas: tuple[float, ...] | None = None
    size_bytes: int | None = None
    removed: bool = False
    version: Literal[1] = FORMAT_VERSION

    @cached_property
    def labels(self) -> Mapping[str, int]:
        """The label of each class by its name, without names that several classes have."""
        times = Counter(one.name for one in self.classes)
        return {one.name: i for i, one in enumerate(self.classes) if times[one.name] == 1}

    def class_text(self, label: int, mix: Mix = ()) -> str:
        """The name of a class, or the names and weights of a mix, as a request may give it."""
        if not mix:
            return self.classes[label].name
        return written_mix([self.classes[label].name for label, _ in mix], mix)

    def encode(self) -> bytes:
        """JSON that `decode_card` reads back to an equal card."""
        unknown = {n for n in ("attention_gammas", "size_bytes") if getattr(self, n) is None}
        if not self.removed:
            unknown.add("removed")
        return _CARD.dump_json(self, exclude={"version", *unknown})


_CARD = TypeAdapter(ModelCard)


def decode_card(data: bytes) -> ModelCard:
    """The card that `ModelCard.encode` wrote; raises DecodeError for anything else."""
    return _decode(_CARD, data, "model card")


@dataclass(frozen=True)
class WorkerStatus:
    """What a worker says about itself with each heartbeat.

    `loaded` has the models that are in its memory; None if all are.
    """

    fingerprints: tuple[str, ...]
    device: str  # this and the next are for people who look into Redis
    pid: int
    images_per_s: float = 0.0  # while its device was busy; 0 before the first batch
    loaded: tuple[str, ...] | None = None
    version: Literal[1] = FORMAT_VERSION

    def encode(self) -> bytes:
        """JSON that `decode_status` reads back to an equal status."""
        unknown = {"loaded"} if self.loaded is None else set()
        return _STATUS.dump_json(self, exclude={"version", *unknown})


_STATUS = TypeAdapter(WorkerStatus)


def decode_status(data: bytes) -> WorkerStatus:
    """The status that `WorkerStatus.encode` wrote; raises DecodeError for anything else."""
    return _decode(_STATUS, data, "worker status")


def _decode(adapter: TypeAdapter[T], data: bytes, what: str, *, newest: int = FORMAT_VERSION) -> T:
    """The decoded message; members that only a newer version knows are ignored."""
    try:
        return adapter.validate_json(data)
    except ValueError as error:
        version = member_of(data, "version")
        if version is not None and version not in range(FORMAT_VERSION, newest + 1):
            raise FormatVersionError(
                f"the {what} has format version {version!r:.40}, and this process reads version "
                f"{newest} at most: run versions of this project that fit together"
            ) from error
        raise DecodeError(f"not a {what}: {error} in {data[:200]!r}") from error


def member_of(data: bytes, name: str) -> object:
    """A member of a message that this version cannot decode; None if there is none."""
    try:
        members = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return members.get(name) if isinstance(members, dict) else None


@dataclass(frozen=True)
class ImageId:
    """The checkpoint (12 hex digits), class index, seed, truncation and attention scale.

    `mix` has the classes of a mix with their weights, and `label` is its first class.
    """

    prefix: str
    label: int
    seed: int
    truncation_thousandths: int | None
    attention_scale_thousandths: int = WHOLE
    mix: Mix = ()

    def __str__(self) -> str:
        return format_image_id(
            self.prefix,
            self.label,
            self.seed,
            self.truncation_thousandths,
            self.attention_scale_thousandths,
            self.mix,
        )


def format_image_id(
    fingerprint: str,
    label: int,
    seed: int,
    truncation_thousandths: int | None,
    attention_scale_thousandths: int = WHOLE,
    mix: Mix = (),
) -> str:
    """The image id of these values; `fingerprint` may be the whole one.

    An attention scale of 1 is not written, so that each image has one id.
    """
    classes = "_".join([f"{one}x{part}" for one, part in mix]) if mix else label
    truncation = "n" if truncation_thousandths is None else truncation_thousandths
    scale = attention_scale_thousandths
    suffix = "" if scale == WHOLE else f"-a{scale}"
    return f"{fingerprint[:FINGERPRINT_DIGITS]}-{classes}-{seed}-{truncation}{suffix}"


def parse_image_id(text: str) -> ImageId:
    """The parsed image id; raises InvalidValueError for anything else."""
    match = _IMAGE_ID.fullmatch(text)
    if match is None:
        raise InvalidValueError(
            f"{text[:80]!r} is not an image id: expected <{FINGERPRINT_DIGITS} hex digits>-<class>"
            "-<seed>-<truncation in thousandths, or n>, and -a<attention scale in thousandths> "
            "unless the scale is 1; the classes of a mix are <class>x<weight in thousandths>_…"
        )
    classes, seed, truncation, _, scale = match.groups()
    thousandths = None if truncation == "n" else int(truncation)
    check_seed(int(seed))
    check_truncation_thousandths(thousandths)
    if scale is not None:
        check_written_scale(int(scale))
    scale_thousandths = WHOLE if scale is None else int(scale)
    mix = parse_mix(classes) if "x" in classes else ()
    label = mix[0][0] if mix else int(classes)
    return ImageId(text[:FINGERPRINT_DIGITS], label, int(seed), thousandths, scale_thousandths, mix)


def parse_mix(text: str) -> Mix:
    """The mix in an image id, `5x600_8x400`; raises InvalidValueError if it has another form."""
    parts = [part.split("x") for part in text.split("_")]
    mix = tuple((int(label), int(part)) for label, part in parts)
    if not is_canonical(mix):
        raise InvalidValueError(
            f"{text!r} is not how an image id writes a mix: the weights of two or three classes "
            f"sum to {WHOLE}, the largest is first, and of equal ones the lower class"
        )
    return mix


def is_canonical(mix: Mix) -> bool:
    """Whether a mix is written in the one form that it has: see `mix_of`."""
    return len(mix) > 1 and min(part for _, part in mix) > 0 and mix == mix_of(mix)


def check_seed(seed: int) -> None:
    """Raises InvalidValueError unless `seed` is 0…2³²−1."""
    if not 0 <= seed <= MAX_SEED:
        raise InvalidValueError(f"seed {seed} is not within 0 and {MAX_SEED}")


def check_truncation_thousandths(thousandths: int | None) -> None:
    """Raises InvalidValueError unless the truncation is none or 0.001…4."""
    if thousandths is not None and not 1 <= thousandths <= MAX_TRUNCATION_THOUSANDTHS:
        raise InvalidValueError(
            f"truncation {thousandths / 1000:g} is not within 0.001 and "
            f"{MAX_TRUNCATION_THOUSANDTHS / 1000:g}"
        )


def check_written_scale(thousandths: int) -> None:
    """Raises InvalidValueError unless an image id may have this attention scale: 0…2, but not 1."""
    if thousandths == WHOLE:
        raise InvalidValueError(
            "an image id does not write the attention scale 1: leave out its end, -a1000"
        )
    if not 0 <= thousandths <= MAX_ATTENTION_SCALE_THOUSANDTHS:
        raise InvalidValueError(
            f"attention scale {thousandths / WHOLE:g} is not within 0 and "
            f"{MAX_ATTENTION_SCALE_THOUSANDTHS / WHOLE:g}"
        )

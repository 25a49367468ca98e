"""Renderer: runs jobs on one checkpoint and encodes the outputs."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from app.file_marks import image_members, mark_name, marked_file
from app.queue.messages import Job, ModelCard, ModelClass
from app.settings import ModelSource, Settings

if TYPE_CHECKING:
    from model import Checkpoint
    from model.checkpoint import HeldCheckpoint
    from model.sampling.sampler import Sampler, Warmth, WholeAttention

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB
Weights = NDArray[np.float32]  # (Q, h, w)


@dataclass(frozen=True)
class DeviceOutput:
    """What the device computed for one job: pixels, attention weights, or both."""

    pixels: Pixels | None
    weights: Weights | None = None
    whole: WholeAttention | None = None


class Renderer(Protocol):
    """What the worker's loop needs of a model; `render` and `encode` run in different threads."""

    card: ModelCard  # the worker registers it for this model

    @property
    def size_bytes(self) -> int:
        """What its weights take of the device's memory."""

    def render(self, jobs: Sequence[Job]) -> list[DeviceOutput]:
        """One output a job, in one forward pass: many images and frames, or one attention map."""

    def encode(self, job: Job, output: DeviceOutput) -> bytes:
        """The body of the reply, in the job's output format."""

    def stored(self) -> StoredRenderer | None:
        """How to load it again after it made room for others; None: it cannot be loaded again."""


class StoredRenderer(Protocol):
    """A renderer that need not be in memory."""

    def load(self) -> Renderer:
        """The renderer, with the bytes that it had before.

        Raises ValueError, OSError, RuntimeError or MemoryError.
        """

    def close(self) -> None:
        """Gives up what it holds; it cannot be loaded any more."""


class SamplerRenderer:
    """The Renderer of a SAGAN checkpoint."""

    def __init__(
        self,
        sampler: Sampler,
        card: ModelCard,
        *,
        marked: bool = False,
        stored: StoredRenderer | None = None,
    ) -> None:
        """Files are `marked` with the names on the card."""
        from model.pictures import attention_picture, encode

        self.sampler = sampler
        self.card = card
        self._stored = stored
        self._marking = card if marked else None  # stays, whatever names a later card has
        self._encode, self._attention_picture = encode, attention_picture

    @property
    def size_bytes(self) -> int:
        """See Renderer."""
        return self.sampler.size_bytes

    def stored(self) -> StoredRenderer | None:
        """See Renderer."""
        return self._stored

    def render(self, jobs: Sequence[Job]) -> list[DeviceOutput]:
        """See Renderer."""
        kinds = [job.kind for job in jobs]
        if kinds[0] in ("attention", "attention-all"):
            return [self._attend(job) for job in jobs]
        pixels = self._samples_and_frames(jobs) if "frame" in kinds else self._samples(jobs)
        return list(map(DeviceOutput, pixels))

    def encode(self, job: Job, output: DeviceOutput) -> bytes:
        """See Renderer."""
        pixels, weights, whole = output.pixels, output.weights, output.whole
        if whole is not None:
            return whole.maxima.astype("<f4").tobytes() + whole.levels.tobytes()
        if weights is not None and job.output == "npy":
            buffer = io.BytesIO()
            np.save(buffer, weights, allow_pickle=False)
            return buffer.getvalue()
        if weights is not None and job.output == "json":
            return self._document(job, weights)
        if pixels is None:
            raise ValueError(f"a job of output {job.output!r} was rendered without its image")
        if weights is not None:
            size_px = job.size_px or self.card.resolution
            pixels = self._attention_picture(
                pixels, weights, job.queries, view=job.view, size_px=size_px
            )
        if job.output in ("png", "webp", "jpeg"):
            return self._marked(job, self._encode(pixels, job.output))
        return pixels.tobytes()

    def _marked(self, job: Job, body: bytes) -> bytes:
        """The file with its mark; a frame has none, since it is sent only as a part of a walk."""
        if self._marking is None or job.kind == "frame":
            return body
        members = image_members(
            job.image_id,
            self._marking.name,
            self._marking.class_text(job.label, job.mix),
            job.seed,
            job.truncation,
            job.attention_scale,
        )
        if job.kind == "attention":  # the file shows maps of the image, and is not the image
            members = {"attention_of": members.pop("image_id"), **members}
        return marked_file(body, job.output, members)

    def _samples(self, jobs: Sequence[Job]) -> Pixels:  # (B, H, W, 3)
        return self.sampler.sample(
            [job.classes for job in jobs],
            [job.seed for job in jobs],
            truncation=[job.truncation for job in jobs],
            attention_scale=[job.attention_scale for job in jobs],
        )

    def _samples_and_frames(self, jobs: Sequence[Job]) -> Pixels:  # (B, H, W, 3)
        weights = np.zeros((len(jobs), len(self.card.classes)))
        for row, job in zip(weights, jobs, strict=True):
            if isinstance(mixed := job.classes, dict):
                row[list(mixed)] = list(mixed.values())
                continue
            part = job.part_thousandths / 1000  # 0 for a sample
            row[job.label] += 1 - part
            row[job.to_label] += part
        z = np.stack([self._latent(job) for job in jobs])
        scales = [job.attention_scale for job in jobs]
        return self.sampler.render(z, weights.astype(np.float32), scales)

    def _latent(self, job: Job) -> NDArray[np.float32]:  # (z_dim,)
        from model.latents import between, latents  # torch: only a worker may

        if job.kind == "sample":
            return np.asarray(latents([job.seed], self.card.z_dim, job.truncation)[0])
        start, end = latents([job.seed, job.to_seed], self.card.z_dim, job.truncation)
        return between(start, end, job.part_thousandths / 1000)

    def _attend(self, job: Job) -> DeviceOutput:
        if job.kind == "attention-all":
            whole = self.sampler.whole_attention(
                job.classes, job.seed, job.truncation, job.layer, job.attention_scale
            )
            return DeviceOutput(None, whole=whole)
        asked = (
            job.classes,
            job.seed,
            job.queries,
            job.truncation,
            job.layer,
            job.attention_scale,
        )
        if job.output != "png":
            return DeviceOutput(None, self.sampler.attention(*asked))
        return DeviceOutput(*self.sampler.sample_with_attention(*asked))

    def _document(self, job: Job, weights: Weights) -> bytes:
        document = {
            "image_id": job.image_id,
            "layer": job.layer % len(self.card.attention_grids),
            "queries": job.queries,
            "weights": weights.astype(np.float64).round(9).tolist(),
        }
        return json.dumps(document, separators=(",", ":")).encode()


def refuse_doubles(card: ModelCard, others: Sequence[ModelCard]) -> None:
    """Raises ValueError if another card has the name or the checkpoint of this one."""
    for other in others:
        if other.fingerprint == card.fingerprint:
            raise ValueError(
                f"the models {other.name!r} and {card.name!r} are the same checkpoint "
                f"({card.fingerprint[:12]}): give it one name in SAGAN_MODEL (--model) or "
                "SAGAN_MODELS_DIR"
            )
        if other.name == card.name:
            raise ValueError(
                f"two models are called {card.name!r}: give each a name of its own in SAGAN_MODEL "
                "(--model NAME=DIR --model NAME=DIR) or SAGAN_MODELS_DIR"
            )


class StoredCheckpoint:
    """A checkpoint whose files are held open, with what its first warm-up has found out.

    So it can be loaded again although its folder was replaced or removed meanwhile, and without
    the seconds in which the first warm-up proves that no picture depends on its batch.
    """

    def __init__(
        self, held: HeldCheckpoint, warmth: Warmth, card: ModelCard, settings: Settings
    ) -> None:
        self.held, self.warmth, self.card, self.settings = held, warmth, card, settings

    def load(self) -> SamplerRenderer:
        """See StoredRenderer."""
        from model import Sampler  # torch: only a worker may

        settings = self.settings
        sampler = Sampler(self.held.load(), device=settings.device, precision=settings.precision)
        sampler.warm_up(self.warmth)
        if sampler.renderer != self.warmth.renderer:
            raise RuntimeError(
                f"{self.held.folder}: the renderer is {sampler.renderer}, "
                f"and was {self.warmth.renderer}: restart the worker"
            )
        return SamplerRenderer(sampler, self.card, marked=settings.mark, stored=self)

    def close(self) -> None:
        """See StoredRenderer."""
        self.held.close()


def load_renderer(source: ModelSource, settings: Settings) -> SamplerRenderer:
    """The warm renderer of one model.

    Raises ValueError or OSError when the checkpoint or the device is missing.
    """
    from model import Sampler, pictures  # torch: only a worker may
    from model.checkpoint import DEFAULT_NAME, HeldCheckpoint

    held = HeldCheckpoint(source.location)
    try:
        checkpoint = held.load()
        sampler = Sampler(checkpoint, device=settings.device, precision=settings.precision)
        sampler.warm_up()
    except BaseException:
        held.close()
        raise
    name = source.name or name_of(source.location or DEFAULT_NAME)
    renderer = f"{sampler.renderer}-{pictures.encoder()}"
    if settings.mark:
        renderer += f"-{mark_name(name, [c.name for c in checkpoint.classes])}"
    card = replace(card_of(checkpoint, name, renderer), size_bytes=held.size_bytes)
    stored = StoredCheckpoint(held, sampler.warmth, card, settings)
    return SamplerRenderer(sampler, card, marked=settings.mark, stored=stored)


def name_of(location: str) -> str:
    """The name of a checkpoint whose source gives none: that of its folder or repository."""
    from model.hub import PREFIX, hub_place

    return hub_place(location).name if location.startswith(PREFIX) else Path(location).name


def card_of(checkpoint: Checkpoint, name: str, renderer: str) -> ModelCard:
    """The card of a checkpoint under the names that it and its renderer are served by."""
    config, facts = checkpoint.config, _scalars(checkpoint.facts)
    return ModelCard(
        name=name,
        fingerprint=checkpoint.fingerprint,
        resolution=config.resolution,
        classes=tuple(ModelClass(c.name, c.wnid, tuple(c.aliases)) for c in checkpoint.classes),
        attention_grids=tuple(config.key_grid(i) for i in range(len(config.attention_layers))),
        attention_gammas=_finite(checkpoint.generator.attention_gammas()),
        renderer=renderer,
        z_dim=config.z_dim,
        licence=str(facts["licence"]) if "licence" in facts else None,
        facts=facts,
    )


def _finite(numbers: tuple[float, ...]) -> tuple[float, ...] | None:
    """The numbers, if JSON can carry all of them."""
    return numbers if all(math.isfinite(number) for number in numbers) else None


def _scalars(facts: Mapping[str, object]) -> dict[str, str | int | float | bool]:
    """The facts that JSON can carry: texts and finite numbers."""
    return {
        name: value
        for name, value in facts.items()
        if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    }

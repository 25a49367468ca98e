"""What a job becomes: image, raw pixels, attention picture, document or array."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pytest
import torch
from PIL import Image

from app.file_marks import image_id_in
from app.queue.messages import Job, ModelClass, Output, decode_card
from app.settings import ModelSource, load_settings
from app.worker.renderer import (
    Pixels,
    SamplerRenderer,
    Weights,
    card_of,
    load_renderer,
    refuse_doubles,
)
from class_names import mix_of
from model import Checkpoint, Generator, GeneratorConfig, Sampler
from model.latents import between, latents
from tests.fake_renderer import FINGERPRINT, FakeRenderer


class Whole(NamedTuple):
    """Uniform attention of a 4×4 picture to 2×2 keys."""

    maxima: Weights
    levels: Pixels


class FakeSampler:
    """Seeds as grey levels; uniform attention."""

    renderer = "fake"

    def sample(
        self,
        labels: Sequence[int],
        seeds: Sequence[int],
        truncation: float | Sequence[float | None] | None = None,
        attention_scale: float | Sequence[float] = 1.0,
    ) -> Pixels:
        """See model.Sampler."""
        assert isinstance(truncation, list)
        self.scales, self.labels = attention_scale, labels
        return np.stack([np.full((4, 4, 3), seed, np.uint8) for seed in seeds])

    def attention(
        self,
        label: int,
        seed: int,
        queries: Sequence[tuple[int, int]],
        truncation: float | None = None,
        layer: int = -1,
        attention_scale: float = 1.0,
    ) -> Weights:
        """See model.Sampler."""
        self.scales = attention_scale
        return np.full((len(queries), 2, 2), 0.25, np.float32)

    def sample_with_attention(
        self,
        label: int,
        seed: int,
        queries: Sequence[tuple[int, int]],
        truncation: float | None = None,
        layer: int = -1,
        attention_scale: float = 1.0,
    ) -> tuple[Pixels, Weights]:
        """See model.Sampler."""
        picture = self.sample([label], [seed], [truncation])[0]
        return picture, self.attention(label, seed, queries, truncation, layer, attention_scale)

    def render(
        self, z: Weights, class_weights: Weights, attention_scale: float | Sequence[float] = 1.0
    ) -> Pixels:
        """The weights of class 1 as grey levels."""
        self.batch, self.scales = z, attention_scale
        return np.stack([np.full((4, 4, 3), round(200 * w[1]), np.uint8) for w in class_weights])

    def whole_attention(
        self,
        label: int,
        seed: int,
        truncation: float | None = None,
        layer: int = -1,
        attention_scale: float = 1.0,
    ) -> Whole:
        """See model.Sampler."""
        self.scales = attention_scale
        return Whole(np.full(16, 0.25, np.float32), np.full((16, 4), 255, np.uint8))


@pytest.fixture
def renderer() -> SamplerRenderer:
    return SamplerRenderer(cast("Sampler", FakeSampler()), FakeRenderer().card)


def body(renderer: SamplerRenderer, job: Job) -> bytes:
    [drawing] = renderer.render([job])
    return renderer.encode(job, drawing)


def attention(**members: object) -> Job:
    job = Job(FINGERPRINT, 1, 9, kind="attention", queries=((0, 1), (3, 3)))
    return replace(job, **members)  # type: ignore[arg-type]


def test_samples_of_a_batch_become_a_picture_each(renderer: SamplerRenderer) -> None:
    """PNG or the bare bytes, row by row."""
    jobs = [Job(FINGERPRINT, 0, 5, output="raw"), Job(FINGERPRINT, 0, 6)]
    raw, png = map(renderer.encode, jobs, renderer.render(jobs))
    assert raw == bytes([5]) * 48
    assert np.asarray(Image.open(io.BytesIO(png))).tolist() == np.full((4, 4, 3), 6).tolist()


@pytest.mark.parametrize("output", ["webp", "jpeg"])
def test_a_sample_may_be_a_lossy_file(renderer: SamplerRenderer, output: Output) -> None:
    """Of the format that was asked for, close to what was drawn."""
    picture = Image.open(io.BytesIO(body(renderer, Job(FINGERPRINT, 0, 90, output=output))))
    assert picture.format == output.upper()
    assert np.abs(np.asarray(picture.convert("RGB"), int) - 90).max() < 4


def test_a_frame_is_a_mix_of_its_ends(renderer: SamplerRenderer) -> None:
    """As far on the way as it says."""
    job = Job(FINGERPRINT, 0, 5, kind="frame", to_label=1, to_seed=6, part_thousandths=250)
    assert np.asarray(Image.open(io.BytesIO(body(renderer, job)))).max() == 50


@pytest.fixture
def marking() -> SamplerRenderer:
    """A renderer whose files are marked."""
    return SamplerRenderer(cast("Sampler", FakeSampler()), FakeRenderer().card, marked=True)


@pytest.mark.parametrize("output", ["png", "webp", "jpeg"])
def test_a_marked_file_names_its_image_and_has_its_pixels(
    renderer: SamplerRenderer, marking: SamplerRenderer, output: Output
) -> None:
    """Model and class too; the raw pixels are as they were."""
    job = Job(FINGERPRINT, 1, 90, 500, output=output, attention_scale_thousandths=250)
    plain, marked = body(renderer, job), body(marking, job)
    assert image_id_in(marked) == job.image_id == f"{FINGERPRINT[:12]}-1-90-500-a250"
    for text in (b"fake", b"dog", b"trainedAlgorithmicMedia", b"0.25"):
        assert text in marked
        assert text not in plain
    first, second = (np.asarray(Image.open(io.BytesIO(one))) for one in (plain, marked))
    assert np.array_equal(first, second)
    raw = replace(job, output="raw")
    assert body(marking, raw) == body(renderer, raw)


def test_maps_are_marked_as_maps_and_frames_are_not_marked(marking: SamplerRenderer) -> None:
    """A map is not the image itself; frames are sent only as parts of a walk, which has a mark."""
    maps = body(marking, attention(size_px=64))
    assert f'attention_of="{attention().image_id}"'.encode() in maps
    assert b"trainedAlgorithmicMedia" in maps
    assert image_id_in(maps) is None
    assert b"sagan" not in body(marking, Job(FINGERPRINT, 0, 5, kind="frame", to_label=1))


def test_a_mark_keeps_its_names_when_the_card_gets_others(marking: SamplerRenderer) -> None:
    """Other bytes would need another renderer."""
    job = Job(FINGERPRINT, 0, 5)
    before = body(marking, job)
    marking.card = replace(marking.card, classes=(ModelClass("mended"), ModelClass("dog")))
    assert body(marking, job) == before


def test_the_renderers_name_tells_whether_files_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with which names; without marks it is as short as before there were any."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(resolution=32, base_channels=2, num_classes=2, z_dim=8))
    location = Checkpoint(generator).save(tmp_path / "small")
    cards = []
    for name, mark in (("cats", "off"), ("cats", "on"), ("dogs", "on")):
        monkeypatch.setenv("SAGAN_MARK", mark)
        settings = load_settings(device="cpu", precision="float32")
        renderer = load_renderer(ModelSource(name, str(location)), settings)
        cards.append(renderer.card)
        file = body(renderer, Job(renderer.card.fingerprint, 0, 5))
        assert (image_id_in(file) is None) == (mark == "off")
    unmarked, cats, dogs = (card.renderer for card in cards)
    assert cats.startswith(f"{unmarked}-mark")
    assert dogs.startswith(f"{unmarked}-mark")
    assert cats != dogs


@pytest.mark.parametrize(("gammas", "told"), [((-0.5, 0.25),) * 2, ((0.25, float("nan")), None)])
def test_the_card_tells_gamma_of_each_layer(
    gammas: tuple[float, float], told: tuple[float, float] | None
) -> None:
    """First to last; one that JSON cannot carry would cost the model its card."""
    generator = Generator(
        GeneratorConfig(
            resolution=32, base_channels=8, num_classes=2, z_dim=8, attention_at=(8, 16)
        )
    )
    for at, gamma in zip((8, 16), gammas, strict=True):
        torch.nn.init.constant_(generator.attention[str(at)].get_parameter("gamma"), gamma)
    card = card_of(Checkpoint(generator), "small", "cpu")
    assert card.attention_gammas == told
    assert decode_card(card.encode()) == card


def test_frames_and_samples_are_one_batch(renderer: SamplerRenderer) -> None:
    """Of one forward pass: each is as far on its way as it says, a sample at its start."""
    way = Job(FINGERPRINT, 0, 5, 500, kind="frame", to_label=1, to_seed=6)
    jobs = [
        replace(way, part_thousandths=250),
        Job(FINGERPRINT, 1, 9),
        replace(way, part_thousandths=750, to_label=0),
    ]
    drawn = renderer.render(jobs)
    assert [output.pixels.max() for output in drawn if output.pixels is not None] == [50, 200, 0]
    start, end = latents([5, 6], 8, 0.5)
    z = cast("FakeSampler", renderer.sampler).batch
    assert np.array_equal(z[0], between(start, end, 0.25))
    assert np.array_equal(z[1], latents([9], 8)[0])
    assert np.array_equal(z[2], between(start, end, 0.75))


MIXED = Job(FINGERPRINT, 1, 9, mix=((1, 600), (0, 400)))


def test_a_mix_is_drawn_as_its_weights_say(renderer: SamplerRenderer) -> None:
    """Among images of one class, and among the frames of a walk."""
    sampler = cast("FakeSampler", renderer.sampler)
    renderer.render([MIXED, Job(FINGERPRINT, 0, 5)])
    assert sampler.labels == [{1: 0.6, 0: 0.4}, 0]
    walking = Job(FINGERPRINT, 0, 5, kind="frame", to_label=1, part_thousandths=250)
    pixels = [output.pixels for output in renderer.render([walking, MIXED])]
    assert [int(one[0, 0, 0]) for one in pixels if one is not None] == [50, 120]


def test_a_mixed_file_is_marked_with_all_its_classes(marking: SamplerRenderer) -> None:
    """The id names them by number, `class` by name."""
    file = body(marking, MIXED)
    assert image_id_in(file) == f"{FINGERPRINT[:12]}-1x600_0x400-9-n"
    assert b'"class":"dog:0.6,cat:0.4"' in file


def test_jobs_of_every_kind_are_drawn_with_their_attention_scale(renderer: SamplerRenderer) -> None:
    """Each image of a batch with its own; a map with that of its image."""
    sampler = cast("FakeSampler", renderer.sampler)
    half = Job(FINGERPRINT, 0, 5, attention_scale_thousandths=500)
    for batch in ([half, Job(FINGERPRINT, 1, 6)], [half, Job(FINGERPRINT, 1, 6, kind="frame")]):
        renderer.render(batch)
        assert sampler.scales == [0.5, 1.0]
    maps = attention(attention_scale_thousandths=250)
    whole = replace(maps, kind="attention-all", output="bin", queries=())
    for job in (maps, replace(maps, output="json"), whole):
        renderer.render([job])
        assert sampler.scales == 0.25


def test_all_attention_is_maxima_and_levels(renderer: SamplerRenderer) -> None:
    """Little-endian: float32 for each query, then a byte a weight."""
    job = Job(FINGERPRINT, 1, 9, kind="attention-all", output="bin")
    data = body(renderer, job)
    assert np.frombuffer(data[:64], "<f4").tolist() == [0.25] * 16
    assert data[64:] == bytes([255]) * 64


def test_attention_as_a_document_names_image_layer_and_queries(renderer: SamplerRenderer) -> None:
    """The layer is counted from the first, whatever was asked with."""
    document = json.loads(body(renderer, attention(output="json")))
    assert document["image_id"] == f"{FINGERPRINT[:12]}-1-9-n"
    assert (document["layer"], document["queries"]) == (0, [[0, 1], [3, 3]])
    assert np.sum(document["weights"], axis=(1, 2)).tolist() == [1.0, 1.0]


def test_attention_as_an_array_is_read_by_numpy(renderer: SamplerRenderer) -> None:
    """Without pickle."""
    array = np.load(io.BytesIO(body(renderer, attention(output="npy"))), allow_pickle=False)
    assert (array.shape, array.dtype) == ((2, 2, 2), np.float32)


def test_attention_as_a_picture_has_the_size_that_was_asked(renderer: SamplerRenderer) -> None:
    """A panel a query, `size_px` high."""
    picture = Image.open(io.BytesIO(body(renderer, attention(size_px=64, view="heatmap"))))
    assert picture.height == 64
    assert picture.width >= 128


def test_every_configured_name_is_served_or_refused() -> None:
    """Neither one checkpoint under two names, nor two under one."""
    card = FakeRenderer().card
    refuse_doubles(card, [replace(card, name="b", fingerprint="b" * 64)])
    with pytest.raises(ValueError, match="are the same checkpoint"):
        refuse_doubles(card, [replace(card, name="b")])
    with pytest.raises(ValueError, match="two models are called"):
        refuse_doubles(card, [replace(card, fingerprint="b" * 64)])


@pytest.mark.slow
def test_a_mix_of_two_is_the_frame_of_a_walk_between_them() -> None:
    """To the byte, with the checkpoint that ships: the two ways of asking share one arithmetic."""
    real = load_renderer(ModelSource(None, None), load_settings(device="cpu"))
    for part in (500, 137):
        mix = mix_of([(5, 1000 - part), (8, part)])
        frame = Job(real.card.fingerprint, 5, 7, kind="frame", to_label=8, to_seed=7)
        frame = replace(frame, part_thousandths=part)
        walked, mixed = real.render([frame, Job(real.card.fingerprint, mix[0][0], 7, mix=mix)])
        assert np.array_equal(cast("Pixels", walked.pixels), cast("Pixels", mixed.pixels))

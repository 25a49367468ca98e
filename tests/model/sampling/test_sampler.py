"""The sampler: the same bytes in whatever company, and attention maps that are real."""

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.checkpoint import Checkpoint, load_checkpoint
from model.config import GeneratorConfig
from model.devices import computes_bf16
from model.generator import Generator
from model.latents import latents
from model.levels import to_pixels
from model.sampling.inputs import Inputs
from model.sampling.sampler import Sampler


def tiny(**switches: object) -> Checkpoint:
    """A small random generator whose attention and class gains do something."""
    torch.manual_seed(0)
    config = GeneratorConfig.model_validate(
        {"resolution": 32, "base_channels": 8, "num_classes": 3} | switches
    )
    generator = Generator(config)
    for name, parameter in generator.named_parameters():
        if name.endswith(("gain.weight", "bias.weight")):
            torch.nn.init.normal_(parameter, 0.5, 0.3)
        if name.endswith("gamma"):
            torch.nn.init.constant_(parameter, 0.8)
    return Checkpoint(generator)


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    sampler = Sampler(tiny(), "cpu")
    sampler.warm_up()
    return sampler


def test_a_picture_is_the_generators_output_as_bytes(sampler: Sampler) -> None:
    """uint8 RGB, rows of pixels, [-1, 1] onto 0…255, nothing else in between."""
    z = torch.from_numpy(latents([5], 128))
    with torch.no_grad():
        image = sampler.checkpoint.generator(z, torch.tensor([2]))[0]
    expected = ((image + 1) * 127.5).permute(1, 2, 0).numpy()
    pixels = sampler.sample([2], [5])[0]
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels - expected).max() <= 0.51


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_seed_gives_the_same_bytes_at_every_batch_size_and_position(precision: str) -> None:
    """All batch sizes to 33, each picture at its place, against each picture alone."""
    sampler = Sampler(tiny(), "cpu", precision)  # type: ignore[arg-type]
    seeds, labels = list(range(33)), [i % 3 for i in range(33)]
    alone = np.stack([sampler.sample([y], [s])[0] for y, s in zip(labels, seeds, strict=True)])
    for size in range(1, 34):
        assert np.array_equal(sampler.sample(labels[:size], seeds[:size]), alone[:size]), size
    assert np.array_equal(sampler.sample(labels[::-1], seeds[::-1]), alone[::-1])


def mixed(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The latents and class weights of pictures, in turn of a class, of a mix of two, of three."""
    weights = np.zeros((count, 3), np.float32)
    for i, row in enumerate(weights):
        row[i % 3] = 1
        if i % 4 != 0:
            row[i % 3], row[(i + 1) % 3] = 1 - i / count, i / count
        if i % 4 == 3:
            row[:] = row * 0.75 + np.array([0, 0.25, 0], np.float32)
    return latents(range(count), 128), weights


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "base_channels"), [("float32", 16), ("bf16", 4)])
def test_a_mix_gives_the_same_bytes_in_whatever_company(precision: str, base_channels: int) -> None:
    """Plain classes, mixes of two and of three share batches of many sizes, at several places; a
    plain class is what `sample` draws."""
    sampler = Sampler(tiny(base_channels=base_channels), "cpu", precision)  # type: ignore[arg-type]
    z, weights = mixed(64)
    alone = np.concatenate([sampler.render(z[i : i + 1], weights[i : i + 1]) for i in range(64)])
    for i in range(0, 64, 4):
        assert np.array_equal(alone[i], sampler.sample([i % 3], [i])[0])
    for size in (2, 3, 4, 7, 8, 13, 16, 33, 64):
        assert np.array_equal(sampler.render(z[:size], weights[:size]), alone[:size]), size
        assert np.array_equal(sampler.render(z[-size:], weights[-size:]), alone[-size:]), size
    assert np.array_equal(sampler.render(z[::-1], weights[::-1]), alone[::-1])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_an_attention_scale_changes_the_bytes_of_no_other_picture(precision: str) -> None:
    """Pictures of scale 1 and of others, of classes and of mixes, share batches of many sizes, at
    several places; one of scale 1 has the bytes that it has where nothing is scaled."""
    sampler = Sampler(tiny(attention_at=(8, 16)), "cpu", precision)  # type: ignore[arg-type]
    z, weights = mixed(40)
    scales = [(1.0, 0.0, 0.5, 1.0, 2.0, 1.337, 1.0)[i % 7] for i in range(40)]
    alone = np.concatenate(
        [sampler.render(z[i : i + 1], weights[i : i + 1], scales[i]) for i in range(40)]
    )
    plain = sampler.render(z, weights)
    unscaled = np.array(scales) == 1
    assert np.array_equal(alone[unscaled], plain[unscaled])
    changed = np.abs(alone[~unscaled].astype(int) - plain[~unscaled])
    assert (changed.max((1, 2, 3)) > 0).all()
    for size in (2, 3, 4, 7, 8, 13, 16, 33, 40):
        some = slice(size)
        assert np.array_equal(sampler.render(z[some], weights[some], scales[some]), alone[some])
    assert np.array_equal(sampler.render(z[::-1], weights[::-1], scales[::-1]), alone[::-1])
    assert np.array_equal(sampler.sample([0], [0], attention_scale=0.25)[0],
                          sampler.sample([0, 1], [0, 1], None, [0.25, 1])[0])  # fmt: skip


@pytest.mark.slow
def test_an_attention_scale_is_a_factor_of_gamma() -> None:
    """In every layer: the picture of a generator whose γ are multiplied, within a rounding, and 0
    draws what a generator with γ = 0 draws."""
    checkpoint = tiny(attention_at=(8, 16))
    sampler = Sampler(checkpoint, "cpu")
    for scale in (0.0, 0.5, 1.5):
        scaled = copy.deepcopy(checkpoint.generator)
        with torch.no_grad():
            for name, parameter in scaled.named_parameters():
                if name.endswith("gamma"):
                    parameter.mul_(scale)
        expected = Sampler(Checkpoint(scaled), "cpu").sample([0, 1], [3, 4]).astype(int)
        drawn = sampler.sample([0, 1], [3, 4], attention_scale=scale)
        assert np.abs(drawn - expected).max() <= 1
        assert np.abs(sampler.sample([0, 1], [3, 4]) - expected).max() > 1


def test_attention_maps_are_those_of_the_pass_with_the_scale() -> None:
    """The first layer sees what it always sees, the second what the first has changed; the picture
    beside the maps is `sample`'s."""
    sampler = Sampler(tiny(attention_at=(8, 16)), "cpu")
    asked = (1, 3, [(0, 0), (30, 9)], None)
    assert np.array_equal(
        sampler.attention(*asked, layer=0), sampler.attention(*asked, layer=0, attention_scale=0.5)
    )
    weights = sampler.attention(*asked, attention_scale=0.5)
    assert not np.array_equal(weights, sampler.attention(*asked))
    np.testing.assert_allclose(weights.sum((1, 2)), 1.0, rtol=1e-5)
    pixels, same = sampler.sample_with_attention(*asked, attention_scale=0.5)
    assert np.array_equal(same, weights)
    assert np.array_equal(pixels, sampler.sample([1], [3], attention_scale=0.5)[0])
    whole = sampler.whole_attention(1, 3, attention_scale=0.5)
    np.testing.assert_allclose(whole.maxima[0], weights[0].max(), rtol=1e-6)


def test_a_generator_without_attention_has_no_other_scale_than_one() -> None:
    """1 draws as ever."""
    sampler = Sampler(tiny(attention_at=()), "cpu")
    plain = sampler.sample([0], [0])
    assert np.array_equal(sampler.sample([0], [0], attention_scale=1.0), plain)
    with pytest.raises(ValueError, match="no self-attention"):
        sampler.sample([0], [0], attention_scale=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_every_seed_is_the_same_at_every_position_of_every_batch_size(precision: str) -> None:
    """Exhaustive: 200 seeds, batch sizes 1 to 64, each seed at each position of each; every second
    picture mixes two classes, every third has an attention scale. Emulated bf16, which
    takes five times as long and which no sampler chooses by itself, has 40 seeds."""
    emulated = precision == "bf16" and not computes_bf16(torch.device("cpu"))
    seeds = 40 if emulated else 200
    sampler = Sampler(tiny(base_channels=2, z_dim=8), "cpu", precision)  # type: ignore[arg-type]
    z, weights = latents(range(seeds), 8), np.zeros((seeds, 3), np.float32)
    for i, row in enumerate(weights):
        row[i % 3] += 1 - i % 2 * i / seeds
        row[(i + 1) % 3] += i % 2 * i / seeds
    scales = np.array([1 + (i % 3 == 0) * (i / seeds - 0.5) for i in range(seeds)])
    alone = np.concatenate(
        [sampler.render(z[i : i + 1], weights[i : i + 1], scales[i]) for i in range(seeds)]
    )
    for size in range(1, 65):
        for first in range(seeds):
            chosen = (first + np.arange(size)) % seeds
            pixels = sampler.render(z[chosen], weights[chosen], list(scales[chosen]))
            assert np.array_equal(pixels, alone[chosen]), (size, first)


def test_a_batch_size_that_rounds_otherwise_is_not_used(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warm-up compares every size's pictures with the largest one's, to the last bit."""
    broken = Sampler(tiny(), "cpu")
    honest = broken._batches.run

    def rounds_otherwise(inputs: Inputs, size: int) -> torch.Tensor:
        images = honest(inputs, size)
        return torch.nextafter(images, images + 1) if size == 4 else images

    monkeypatch.setattr(broken._batches, "run", rounds_otherwise)
    broken.warm_up()
    assert set(broken.costs_s) == set(sampler.costs_s) - {4}


def test_precision_auto_settles_at_warm_up(sampler: Sampler) -> None:
    """It becomes bf16 or float32, and the renderer says which."""
    auto = Sampler(tiny(), "cpu", "auto")
    auto.warm_up()
    assert auto.precision in ("float32", "bf16")
    assert f"-{auto.precision}-" in auto.renderer
    assert "-float32-" in sampler.renderer


def test_a_sampler_leaves_the_checkpoints_network_as_it_was() -> None:
    """It draws with a copy: the trained module gives the same numbers before and after."""
    checkpoint = tiny()
    z, labels = torch.from_numpy(latents([1, 2], 128)), torch.tensor([0, 1])
    before = checkpoint.generator(z, labels)
    Sampler(checkpoint, "cpu", "bf16").sample([0], [0])
    assert torch.equal(checkpoint.generator(z, labels), before)


def test_class_weights_draw_classes_and_mixtures_of_them(sampler: Sampler) -> None:
    """A row with a single 1 is that class to the byte; mixes are what the generator draws."""
    z = latents([4, 4, 4], 128)
    weights = np.array([[0, 1, 0], [0.5, 0, 0.5], [0.2, 0.5, 0.3]], np.float32)
    pixels = sampler.render(z, weights)
    assert np.array_equal(pixels[0], sampler.sample([1], [4])[0])
    with torch.no_grad():
        images = sampler.checkpoint.generator(torch.from_numpy(z), torch.from_numpy(weights))
    assert np.abs(pixels.astype(int) - to_pixels(images)).max() <= 1
    assert np.abs(pixels[1].astype(int) - sampler.sample([0], [4])[0]).max() > 1
    with pytest.raises(ValueError, match="labels has shape"):
        sampler.render(z, weights[:, :2])
    with pytest.raises(ValueError, match=r"class_weights\[1\] sums to 0.5"):
        sampler.render(z, weights * np.array([[1], [0.5], [1]], np.float32))


def test_the_renderer_tells_what_rounding_depends_on(sampler: Sampler) -> None:
    """Device, precision, torch, instructions and threads: another of these, other bytes."""
    assert sampler.renderer.startswith(
        f"cpu-float32-folded1-torch{torch.__version__.split('+')[0]}-"
    )
    assert sampler.renderer.endswith(f"-{torch.get_num_threads()}threads")


def test_truncation_may_differ_picture_by_picture(sampler: Sampler) -> None:
    """A batch mixes requests; each keeps its own truncation."""
    mixed = sampler.sample([0, 0], [9, 9], [None, 0.5])
    assert np.array_equal(mixed[1], sampler.sample([0], [9], 0.5)[0])
    assert not np.array_equal(mixed[0], mixed[1])


def test_attention_maps_sum_to_one_and_differ_between_queries(sampler: Sampler) -> None:
    """One map a query over the layer's pooled grid."""
    weights = sampler.attention(1, 3, [(0, 0), (31, 31), (16, 8)])
    assert weights.shape == (3, 8, 8)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum((1, 2)), 1.0, rtol=1e-5)
    assert not np.allclose(weights[0], weights[1])


def test_a_query_belongs_to_the_grid_cell_that_its_pixel_lies_in(sampler: Sampler) -> None:
    """x and y floor to the layer's grid: pixels of one 2×2 cell share their map, x is not y."""
    same = sampler.attention(1, 3, [(6, 10), (7, 11)])
    assert np.array_equal(same[0], same[1])
    z = torch.from_numpy(latents([3], 128))
    everything = sampler.checkpoint.generator.attention_weights(z, torch.tensor([1]))
    expected = everything[0, 5 * 16 + 3].detach().numpy()
    np.testing.assert_allclose(same[0], expected, rtol=1e-4, atol=1e-7)


def test_a_picture_with_its_attention_is_the_picture_and_the_attention(sampler: Sampler) -> None:
    """One pass for both: the picture's bytes are `sample`'s, the weights `attention`'s."""
    queries = [(0, 0), (30, 9)]
    pixels, weights = sampler.sample_with_attention(2, 11, queries, truncation=0.7)
    assert np.array_equal(pixels, sampler.sample([2], [11], 0.7)[0])
    assert np.array_equal(weights, sampler.attention(2, 11, queries, truncation=0.7))


def test_whole_attention_has_every_querys_map_in_a_byte_a_weight(sampler: Sampler) -> None:
    """levels × maximum / 255 is the map of `attention`, within half a level."""
    whole = sampler.whole_attention(1, 3)
    assert whole.grid == (16, 16, 8, 8)
    assert whole.levels.shape == (256, 64)
    assert (whole.levels.max(1) == 255).all()
    exact = sampler.attention(1, 3, [(2 * x, 2 * y) for y in range(16) for x in range(16)])
    maps = whole.levels * (whole.maxima[:, None] / 255)
    assert (np.abs(maps - exact.reshape(256, 64)) <= whole.maxima[:, None] / 509).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.sample([3], [0]), "label=3"),
        (lambda s: s.sample([0, 1], [0]), "2 labels for 1 seeds"),
        (lambda s: s.sample([0], [2**32]), "seed=4294967296"),
        (lambda s: s.attention(0, 0, [(32, 0)]), r"\(32, 0\) is outside the 32×32"),
        (lambda s: s.attention(0, 0, [(0, 0)], layer=1), "layer=1"),
        (lambda s: s.sample([0], [0], attention_scale=2.1), "attention_scale=2.1: must be from 0"),
        (lambda s: s.sample([0], [0], attention_scale=[1, 1]), "2 attention scales for 1 images"),
        (lambda s: s.attention(0, 0, [(0, 0)], attention_scale=-1), "attention_scale=-1"),
        (
            lambda s: Sampler(s.checkpoint, "cpu", "fp8"),  # type: ignore[arg-type]
            "precision='fp8'",
        ),
        (lambda s: Sampler(s.checkpoint, "warp"), "device 'warp'"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_named(call: object, message: str, sampler: Sampler) -> None:
    """Each refusal says which value and what would do."""
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call(sampler)


def test_the_shipped_checkpoint_draws_different_classes_and_seeds_differently() -> None:
    """A quick look at the real thing: sixteen dogs differ from one another, and from the cats."""
    checkpoint = load_checkpoint()
    sampler = Sampler(checkpoint, "cpu")
    names = [c.name for c in checkpoint.classes]
    seeds = range(16)
    dogs, cats = (
        sampler.sample([names.index(name)] * 16, seeds).astype(float)
        for name in ("golden_retriever", "tabby")
    )
    between_dogs = np.abs(dogs[:, None] - dogs[None]).mean((2, 3, 4))
    assert between_dogs[~np.eye(16, dtype=bool)].min() > 1
    assert between_dogs.mean() > 10
    assert np.abs(dogs - cats).mean() > 10
    assert dogs.std() > 20


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_sample_of_a_mix_is_what_its_weights_render(precision: str) -> None:
    """In whatever company, with other classes and mixes; its attention is that of the same pass."""
    sampler = Sampler(tiny(attention_at=(8, 16)), "cpu", precision)  # type: ignore[arg-type]
    classes: list[int | dict[int, float]] = [
        0, {0: 0.5, 2: 0.5}, {0: 0.2, 1: 0.5, 2: 0.3}, 1, {1: 1.0}, {2: 0.001, 1: 0.999},
    ]  # fmt: skip
    seeds, z = range(6), latents(range(6), 128)
    weights = np.zeros((6, 3), np.float32)
    for row, one in zip(weights, classes, strict=True):
        for label, weight in (one if isinstance(one, dict) else {one: 1.0}).items():
            row[label] = weight
    pixels = sampler.sample(classes, seeds)
    assert np.array_equal(pixels, sampler.render(z, weights))
    for i, one in enumerate(classes):
        assert np.array_equal(sampler.sample([one], [i])[0], pixels[i])
        image, maps = sampler.sample_with_attention(one, i, [(3, 4)])
        assert np.array_equal(image, pixels[i])
        assert np.array_equal(maps, sampler.attention(one, i, [(3, 4)]))
    assert np.array_equal(pixels[4], sampler.sample([1], [4])[0])
    alone = sampler.whole_attention(0, 2)
    assert not np.array_equal(sampler.whole_attention(classes[2], 2).levels, alone.levels)


@pytest.mark.parametrize(
    ("mix", "told"),
    [({0: 0.5}, "sums to 0.5"), ({0: 0.5, 3: 0.5}, "label=3"), ({}, "sums to 0")],
)
def test_what_is_no_mix_of_its_classes_is_refused(
    sampler: Sampler, mix: dict[int, float], told: str
) -> None:
    """A label that is not there, or weights that do not sum to 1."""
    with pytest.raises(ValueError, match=told):
        sampler.sample([mix, 0], [1, 1])
    with pytest.raises(ValueError, match=told):
        sampler.attention(mix, 1, [(0, 0)])

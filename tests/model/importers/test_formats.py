"""Each format: the imported networks compute what the file's own layout means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.importers.importing import Imported, Overrides, import_files
from model.importers.naming import ImportRefusedError
from model.latents import latents
from model.sampling.folding import FoldedGenerator
from model.sampling.inputs import of_classes
from model.sampling.sampler import Sampler
from tests.model.importers import layouts
from tests.model.importers.layouts import Layout, write_discriminator, write_generator
from tests.model.importers.reference import draw, judge
from tests.model.importers.writers import State

SMALL = (16, 8, 24, 16)  # of a 32 px generator
Z, CLASSES = 6, 5


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@dataclass(frozen=True)
class Case:
    """A layout and the constants that its implementation computes with."""

    layout: Layout
    eps: float
    in_place: bool = False
    upsampling: str = "nearest"
    bgr: bool = False


CASES = {
    "studiogan": Case(layouts.STUDIOGAN, 1e-4, in_place=True),
    "studiogan-v02": Case(layouts.STUDIOGAN_V02, 1e-4, in_place=True),
    "mmgeneration": Case(layouts.MMGENERATION, 1e-5, bgr=True),
    "mmgeneration-sn": Case(layouts.MMGENERATION_SN, 1e-4, bgr=True),
    "mmgeneration-ema": Case(layouts.MMGENERATION_EMA, 1e-5, bgr=True),
    "mmgeneration-one-sided": Case(layouts.MMGENERATION_ONE_SIDED, 1e-4, bgr=True),
    "mmgeneration-mixed": Case(layouts.MMGENERATION_MIXED, 1e-5, bgr=True),
    "biggan-pytorch": Case(layouts.BIGGAN, 1e-5),
    "mimicry": Case(layouts.MIMICRY, 1e-5, in_place=True, upsampling="bilinear"),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def save(path: Path, state: Mapping[str, Tensor], wrapper: str = "state_dict") -> Path:
    torch.save({wrapper: dict(state), "step": 12}, path)
    return path


def inputs(num_classes: int = CLASSES, z: int = Z) -> tuple[Tensor, Tensor]:
    return torch.randn(3, z), torch.randint(num_classes, (3,))


def picture_error(imported: Imported, expected: Tensor, z: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((imported.checkpoint.generator(z, y) - expected).abs().max())


@every_case
def test_the_generator_draws_what_the_layout_means(case: Case, tmp_path: Path) -> None:
    """Widths, classes, z and the attention's place come from shapes, the format from keys."""
    state, truth = write_generator(case.layout, SMALL, [1], CLASSES, Z)
    imported = import_files(save(tmp_path / "any_name.bin", state))
    config = imported.checkpoint.config
    assert (config.widths, config.attention_at) == (SMALL, (16,))
    assert (config.num_classes, config.z_dim) == (CLASSES, Z)
    z, y = inputs()
    expected = draw(truth, z, y, eps=case.eps, upsampling=case.upsampling)
    expected = expected.flip(1) if case.bgr else expected
    assert picture_error(imported, expected, z, y) < 1e-5


@every_case
def test_the_discriminator_judges_what_the_layout_means(case: Case, tmp_path: Path) -> None:
    """For BGR files the logit is that of the picture in the file's own order."""
    generator, _ = write_generator(case.layout, SMALL, [1], CLASSES, Z)
    state, truth = write_discriminator(case.layout, (8, 16, 16, 24), [1], CLASSES)
    if case.bgr:
        file, judged = save(tmp_path / "both.pth", generator | state), None
    else:
        file, judged = save(tmp_path / "G.pth", generator), save(tmp_path / "D.pth", state)
    imported = import_files(file, discriminator=judged).checkpoint
    expected = torch.zeros(3)
    while expected.abs().min() < 0.05:  # of a logit near 0 float32 weights give no four digits
        x, y = torch.randn(3, 3, 32, 32), torch.randint(CLASSES, (3,))
        expected = judge(truth, x.flip(1) if case.bgr else x, y, in_place=case.in_place)
    assert imported.discriminator is not None
    with torch.no_grad():
        found = imported.discriminator(x, y)
    assert float(((found - expected) / expected).abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("widths", "after", "resolution", "base"),
    [
        ((8, 8, 8, 8), [2], 32, 2),
        ((128, 64, 32, 16, 8), [2, 3], 64, 8),
        ((32, 32, 16, 8, 8, 8), [], 128, 8),
        ((128, 128, 64, 64, 32, 16, 8), [3], 256, 8),
    ],
)
def test_every_resolution_and_any_place_of_attention_is_read(
    widths: tuple[int, ...], after: list[int], resolution: int, base: int, tmp_path: Path
) -> None:
    """From the number of blocks and from where the attention stands among them."""
    state, truth = write_generator(layouts.BIGGAN, widths, after, 3, Z)
    imported = import_files(save(tmp_path / "G_ema.pth", state))
    config = imported.checkpoint.config
    assert (config.resolution, config.base_channels, config.widths) == (resolution, base, widths)
    assert config.attention_layers == tuple(8 << i for i in after)
    z, y = inputs(3)
    assert picture_error(imported, draw(truth, z, y, eps=1e-5), z, y) < 1e-5


def test_what_no_shape_tells_can_be_overridden_and_is_named(tmp_path: Path) -> None:
    """Batch norm eps, colour order and the in-place quirk."""
    state, truth = write_generator(layouts.STUDIOGAN, SMALL, [1], CLASSES, Z)
    judged, judge_truth = write_discriminator(layouts.STUDIOGAN, (8, 8, 8, 8), [0], CLASSES)
    imported = import_files(
        save(tmp_path / "G.pth", state),
        discriminator=save(tmp_path / "D.pth", judged),
        overrides=Overrides(batch_norm_eps=1e-3, colour_order="BGR", skip_sees_relu=False),
    )
    z, y = inputs()
    assert picture_error(imported, draw(truth, z, y, eps=1e-3).flip(1), z, y) < 1e-5
    x = torch.randn(3, 3, 32, 32)
    assert imported.checkpoint.discriminator is not None
    with torch.no_grad():
        found = imported.checkpoint.discriminator(x, y)
    torch.testing.assert_close(found, judge(judge_truth, x.flip(1), y, in_place=False))
    said = "\n".join(imported.lines)
    assert "batch_norm_eps  0.001" in said
    assert "BGR, made RGB" in said
    assert "skip_sees_relu  no" in said


@pytest.mark.parametrize("prefix", ["module.", "module.module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", None])
def test_prefixes_of_parallel_training_and_wrappers_do_not_matter(
    wrapper: str | None, prefix: str, tmp_path: Path
) -> None:
    """`module.` or `_orig_mod.` before every key, in any of the ways in which scripts save."""
    state, truth = write_generator(layouts.MIMICRY, SMALL, [1], CLASSES, Z)
    state = {f"{prefix}{key}": tensor for key, tensor in state.items()}
    file = tmp_path / "G.pth"
    torch.save({wrapper: state} if wrapper else state, file)
    z, y = inputs()
    expected = draw(truth, z, y, eps=1e-5, upsampling="bilinear")
    assert picture_error(import_files(file), expected, z, y) < 1e-5


def test_mimicrys_attention_is_placed_by_its_width(tmp_path: Path) -> None:
    """Its key does not say which block it follows."""
    state, _ = write_generator(layouts.MIMICRY, (64, 64, 32, 16, 8, 8), [2], CLASSES, Z)
    config = import_files(save(tmp_path / "netG.pth", state)).checkpoint.config
    assert (config.resolution, config.attention_at) == (128, (32,))


@every_case
def test_the_folded_network_equals_the_imported_one(case: Case, tmp_path: Path) -> None:
    """In float64 to 1e-10, for every switch that a format brings."""
    state, _ = write_generator(case.layout, SMALL, [1], CLASSES, Z)
    generator = import_files(save(tmp_path / "G.pth", state)).checkpoint.generator.double()
    z, y = inputs()
    with torch.no_grad():
        folded = FoldedGenerator(generator)(of_classes(z.double(), y))
        plain = generator(z.double(), y)
    torch.testing.assert_close(folded, plain, rtol=0, atol=1e-10)


@pytest.mark.slow
@every_case
def test_the_sampler_draws_the_same_pictures_as_the_plain_network(
    case: Case, tmp_path: Path
) -> None:
    """To one level of 256."""
    state, _ = write_generator(case.layout, SMALL, [1], CLASSES, Z)
    checkpoint = import_files(save(tmp_path / "G.pth", state)).checkpoint
    with torch.no_grad():
        plain = checkpoint.generator(torch.from_numpy(latents([1, 2], Z)), torch.tensor([0, 4]))
    levels = plain.permute(0, 2, 3, 1).add(1).mul(127.5)
    sampled = torch.from_numpy(Sampler(checkpoint, "cpu").sample([0, 4], [1, 2]))
    assert float((sampled - levels).abs().max()) <= 1.0


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_draw_as_the_same_ones_in_float32(
    case: Case, dtype: torch.dtype, tmp_path: Path
) -> None:
    """The networks here keep float32 weights, and nothing on the way to them is rounded again."""
    state, _ = write_generator(case.layout, SMALL, [1], CLASSES, Z)
    half = {k: t.to(dtype) if t.is_floating_point() else t for k, t in state.items()}
    single = {k: t.float() if t.is_floating_point() else t for k, t in half.items()}
    imported = import_files(save(tmp_path / "half.pth", half))
    expected = import_files(save(tmp_path / "single.pth", single)).checkpoint.generator
    assert {p.dtype for p in imported.checkpoint.generator.parameters()} == {torch.float32}
    z, y = inputs()
    with torch.no_grad():
        assert picture_error(imported, expected(z, y), z, y) < 1e-6


@every_case
@pytest.mark.parametrize(
    "nest",
    [
        lambda g, ema, d: {"G": g, "D": d, "G_ema": ema, "step": torch.tensor(5)},
        lambda g, ema, d: {"models": {"netD": {"state_dict": d}, "g_ema": ema, "netG": g}},
        lambda g, ema, d: {"epoch": 3, "ema": [{"generator": ema}], "nets": [g, d]},
    ],
    ids=["G-D", "models", "lists"],
)
def test_networks_at_several_places_of_a_file_are_found(
    nest: Callable[[State, State, State], object], case: Case, tmp_path: Path
) -> None:
    """The averaged generator, with the discriminator beside it; the places are named."""
    generator, _ = write_generator(case.layout, SMALL, [1], CLASSES, Z)
    averaged, truth = write_generator(case.layout, SMALL, [1], CLASSES, Z)
    judged, _ = write_discriminator(case.layout, (8, 16, 16, 24), [1], CLASSES)
    file = tmp_path / "run.pt"
    torch.save(nest(generator, averaged, judged), file)
    imported = import_files(file)
    assert imported.checkpoint.discriminator is not None
    z, y = inputs()
    expected = draw(truth, z, y, eps=case.eps, upsampling=case.upsampling)
    assert picture_error(imported, expected.flip(1) if case.bgr else expected, z, y) < 1e-5
    remark = next(line for line in imported.lines if "not used: " in line)
    assert "ema" in remark


def test_a_file_without_a_known_network_says_what_it_holds(tmp_path: Path) -> None:
    """The place and the first key of each state dict; or the keys, if none is there."""
    unknown = {"conv.weight": torch.zeros(2)}
    file = tmp_path / "run.pt"
    torch.save({"G": unknown, "D": {"fc.bias": torch.zeros(2)}}, file)
    with pytest.raises(ImportRefusedError, match=r"G: conv\.weight, D: fc\.bias is not a key of"):
        import_files(file)
    torch.save({"epoch": 3, "args": {"lr": 0.1}}, file)
    with pytest.raises(
        ImportRefusedError, match=r"no state dict of tensors; its keys are epoch, a"
    ):
        import_files(file)

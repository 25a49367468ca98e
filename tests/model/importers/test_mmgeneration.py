"""What is mmgeneration's alone: averaged weights, converted files, styles of spectral norm."""

from pathlib import Path

import pytest
import torch

from model.importers.importing import import_files
from model.importers.naming import ImportRefusedError
from tests.model.importers import layouts
from tests.model.importers.layouts import write_discriminator, write_generator
from tests.model.importers.reference import draw, judge
from tests.model.importers.test_formats import CLASSES, SMALL, Z, inputs, picture_error, save


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_attention_in_another_style_than_its_network_is_read(tmp_path: Path) -> None:
    """mmgeneration's after the first block of a discriminator has u and v, later ones u alone."""
    generator, _ = write_generator(layouts.MMGENERATION, (32, 32, 16, 8, 8, 8), [2], CLASSES, Z)
    state, truth = write_discriminator(
        layouts.MMGENERATION_MIXED, (8, 16, 16, 24, 24, 24), [0, 1], CLASSES
    )
    assert "discriminator.conv_blocks.0.theta.conv.weight_v" in state
    assert "discriminator.conv_blocks.2.theta.conv.u0" in state
    imported = import_files(save(tmp_path / "both.pth", generator | state)).checkpoint
    x, y = torch.randn(2, 3, 128, 128), torch.tensor([0, 4])
    assert imported.discriminator is not None
    with torch.no_grad():
        found = imported.discriminator(x, y)
    torch.testing.assert_close(found, judge(truth, x.flip(1), y, in_place=False), atol=0, rtol=1e-4)


def test_the_averaged_generator_is_preferred(tmp_path: Path) -> None:
    """Where mmgeneration's file has both."""
    last, _ = write_generator(layouts.MMGENERATION, SMALL, [1], CLASSES, Z)
    averaged, truth = write_generator(layouts.MMGENERATION_EMA, SMALL, [1], CLASSES, Z)
    imported = import_files(save(tmp_path / "iter12.pth", last | averaged))
    z, y = inputs()
    assert picture_error(imported, draw(truth, z, y, eps=1e-5).flip(1), z, y) < 1e-5
    assert any("generator_ema" in line for line in imported.lines)


def test_a_converted_file_says_rgb_in_its_name(tmp_path: Path) -> None:
    """mmgeneration's files converted from StudioGAN keep their colours."""
    state, truth = write_generator(layouts.MMGENERATION_SN, SMALL, [1], CLASSES, Z)
    imported = import_files(save(tmp_path / "sagan_128_convert-studio-rgb_2021.pth", state))
    z, y = inputs()
    assert picture_error(imported, draw(truth, z, y, eps=1e-4), z, y) < 1e-5


def test_a_discriminator_that_no_network_here_computes_is_left_out(tmp_path: Path) -> None:
    """mmgeneration's at 64 px; the generator is taken all the same, and the output says why."""
    state, _ = write_generator(layouts.MMGENERATION, (16, 16, 8, 8, 8), [2], CLASSES, Z)
    judged, _ = write_discriminator(layouts.MMGENERATION, (8, 8, 16, 16, 24), [1], CLASSES)
    imported = import_files(save(tmp_path / "both.pth", state | judged))
    assert imported.checkpoint.discriminator is None
    assert any("discriminator left out" in line for line in imported.lines)


@pytest.mark.parametrize("prefix", ["discriminator.", ""])
def test_a_discriminator_that_no_network_here_computes_is_refused_where_it_is_asked_for(
    prefix: str, tmp_path: Path
) -> None:
    """In a file of its own, with its prefix or without."""
    state, _ = write_generator(layouts.MMGENERATION, (16, 16, 8, 8, 8), [2], CLASSES, Z)
    judged, _ = write_discriminator(layouts.MMGENERATION, (8, 8, 16, 16, 24), [1], CLASSES)
    judged = {prefix + key.removeprefix("discriminator."): t for key, t in judged.items()}
    generator, discriminator = save(tmp_path / "G.pth", state), save(tmp_path / "D.pth", judged)
    with pytest.raises(ImportRefusedError, match=r"D\.pth: discriminator left out: at 64 px"):
        import_files(generator, discriminator=discriminator)
    with pytest.raises(ImportRefusedError, match=r"D\.pth: holds a discriminator and no gen"):
        import_files(discriminator)


def test_a_discriminator_of_its_own_file_has_its_generators_colours(tmp_path: Path) -> None:
    """Whatever the file's name says; one of another format is refused."""
    state, _ = write_generator(layouts.MMGENERATION, SMALL, [1], CLASSES, Z)
    judged, truth = write_discriminator(layouts.MMGENERATION, (8, 16, 16, 24), [1], CLASSES)
    generator, file = save(tmp_path / "G_rgb.pth", state), save(tmp_path / "D.pth", judged)
    imported = import_files(generator, discriminator=file).checkpoint
    x, y = torch.randn(2, 3, 32, 32), torch.tensor([0, 4])
    assert imported.discriminator is not None
    with torch.no_grad():
        found = imported.discriminator(x, y)
    torch.testing.assert_close(found, judge(truth, x, y, in_place=False), atol=0, rtol=1e-4)
    other, _ = write_discriminator(layouts.BIGGAN, (8, 16, 16, 24), [1], CLASSES)
    with pytest.raises(
        ImportRefusedError, match=r"D\.pth: format biggan-pytorch, but the generator has mm"
    ):
        import_files(generator, discriminator=save(file, other))

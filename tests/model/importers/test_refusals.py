"""What is no SAGAN, or does not fit: one line that names the key at fault."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.model.importers import layouts
from tests.model.importers.layouts import write_discriminator
from tests.model.importers.refusing import require_refusal, run, studiogan_state
from tests.model.importers.writers import State


@pytest.fixture
def state() -> State:
    return studiogan_state()


def _text(path: Path) -> None:
    path.write_text("<html>Not Found</html>")


def _image(path: Path) -> None:
    Image.new("RGB", (8, 8)).save(path, format="PNG")


def _dcgan(path: Path) -> None:
    network = nn.Sequential(nn.ConvTranspose2d(8, 4, 4), nn.BatchNorm2d(4), nn.ReLU())
    torch.save(network.state_dict(), path)


def _no_tensors(path: Path) -> None:
    torch.save({"state_dict": {}, "step": 3}, path)


def _lone_tensor(path: Path) -> None:
    torch.save(torch.zeros(3), path)


def _judge(path: Path) -> None:
    torch.save(write_discriminator(layouts.STUDIOGAN, (8, 8, 8, 8), [0], 5)[0], path)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (_text, "neither a PyTorch file nor an .npz"),
        (_image, "neither a PyTorch file nor an .npz"),
        (_dcgan, "0.weight is not a key of any known SAGAN checkpoint"),
        (_no_tensors, "holds no state dict"),
        (_lone_tensor, "holds no state dict"),
        (_judge, "holds a discriminator and no generator"),
    ],
)
def test_what_is_no_sagan_generator_is_refused(
    write: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    """Whatever its name says."""
    write(tmp_path / "G.pth")
    result = run("auto", tmp_path / "G.pth", "-o", tmp_path / "out")
    require_refusal(result, tmp_path / "out", said)


def test_the_wrong_format_or_a_missing_file_is_refused(state: State, tmp_path: Path) -> None:
    """Where the format is given it must be right."""
    torch.save(state, tmp_path / "G.pth")
    result = run("mimicry", tmp_path / "G.pth", "-o", tmp_path / "out")
    require_refusal(result, tmp_path / "out", "linear0.weight_orig is not a key of mimicry")
    result = run("auto", tmp_path / "none.pth", "-o", tmp_path / "out")
    require_refusal(result, tmp_path / "out", "No such file")


@pytest.mark.parametrize("kind", ["classes", "resolution", "generator"])
def test_a_discriminator_of_another_generator_is_refused(
    kind: str, state: State, tmp_path: Path
) -> None:
    """Of other classes or another size, or no discriminator at all."""
    widths = (8, 8, 8, 8, 8) if kind == "resolution" else (8, 8, 8, 8)
    judged: dict[str, Tensor] = state
    if kind != "generator":
        classes = 4 if kind == "classes" else 5
        judged, _ = write_discriminator(layouts.STUDIOGAN, widths, [0], classes)
    torch.save(state, tmp_path / "G.pth")
    torch.save(judged, tmp_path / "D.pth")
    options = ("--discriminator", tmp_path / "D.pth", "-o", tmp_path / "out")
    require_refusal(run("auto", tmp_path / "G.pth", *options), tmp_path / "out", "D.pth")


def test_a_folder_that_is_no_checkpoint_is_not_replaced(state: State, tmp_path: Path) -> None:
    """`-o` may be a slip of the keyboard."""
    torch.save(state, tmp_path / "G.pth")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("precious")
    result = run("auto", tmp_path / "G.pth", "-o", tmp_path / "photos")
    assert result.exit_code == 1
    assert (tmp_path / "photos" / "one.jpg").exists()


def test_a_number_of_blocks_that_no_network_has_is_said(state: State, tmp_path: Path) -> None:
    """No single key is at fault."""
    first = {k: t for k, t in state.items() if not k.startswith(("blocks.2.", "blocks.3."))}
    torch.save(first, tmp_path / "G.pth")
    result = run("auto", tmp_path / "G.pth", "-o", tmp_path / "out")
    require_refusal(result, tmp_path / "out", "G.pth: 2 blocks found, expected 3, 4, 5, 6")

"""What is not taken: one line that names the key at fault, and nothing written."""

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor, nn

from model.importers.cli import import_command
from tests.model.importers import layouts
from tests.model.importers.layouts import write_discriminator, write_generator
from tests.model.importers.writers import State

KEY = "blocks.1.0.conv2d1.weight_orig"


@pytest.fixture
def state() -> State:
    torch.manual_seed(0)
    return write_generator(layouts.STUDIOGAN, (16, 8, 24, 16), [1], 5, 6)[0]


def run(*args: object) -> Result:
    return CliRunner().invoke(import_command, [str(a) for a in args])


def require_refusal(result: Result, out: Path, *fragments: str) -> None:
    """One line with the fragments, and no folder."""
    assert result.exit_code == 1, result.output
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    for fragment in fragments:
        assert fragment in result.output
    assert not out.exists()
    assert not list(out.parent.glob(".*"))


class Malicious:
    """A pickle of it creates a file when it is loaded without care."""

    def __init__(self, path: Path, function: Callable[[str], object] = os.system) -> None:
        self.path, self.function = path, function

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        script = f"touch {self.path}"
        return self.function, (script if self.function is os.system else _python(self.path),)


def _python(proof: Path) -> str:
    return f"__import__('pathlib').Path({str(proof)!r}).touch()"


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize(
    ("function", "name"), [(os.system, "posix.system"), (eval, "eval"), (exec, "exec")]
)
def test_a_pickle_with_code_is_refused_without_running_it(
    function: Callable[[str], object], name: str, archive: bool, state: State, tmp_path: Path
) -> None:
    """In either of PyTorch's file forms, hidden beside good weights."""
    proof, file = tmp_path / "proof", tmp_path / "evil.pth"
    payload = {"state_dict": state, "best": Malicious(proof, function)}
    torch.save(payload, file, _use_new_zipfile_serialization=archive)
    said = f"asks for {name}, which is not a tensor"
    require_refusal(run("auto", file, "-o", tmp_path / "out"), tmp_path / "out", said)
    assert not proof.exists()
    with file.open("rb") as opened:  # the pickle is a real one
        torch.load(opened, weights_only=False)
    assert proof.exists()


def test_a_bare_pickle_with_code_is_refused_without_running_it(tmp_path: Path) -> None:
    """As Python's own module writes it."""
    proof, file = tmp_path / "proof", tmp_path / "evil.pth"
    file.write_bytes(pickle.dumps(Malicious(proof)))
    result = run("auto", file, "-o", tmp_path / "out")
    require_refusal(result, tmp_path / "out", "evil.pth", "a pickle of something else")
    assert not proof.exists()


def test_pytorchs_advice_to_load_without_care_is_not_passed_on(tmp_path: Path) -> None:
    """A pickle that it cannot read."""
    file = tmp_path / "old.pth"
    file.write_bytes(b"\x80\x02I1\n.")
    result = run("auto", file, "-o", tmp_path / "out")
    require_refusal(result, tmp_path / "out", "damaged, or a pickle of something else")
    assert "Weights only" not in result.output


def test_a_torchscript_archive_is_called_by_its_name(tmp_path: Path) -> None:
    """It holds a program and no state dict."""
    file = tmp_path / "G.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), file)
    require_refusal(run("auto", file, "-o", tmp_path / "out"), tmp_path / "out", "a TorchScript")


def test_an_npz_with_code_is_refused_without_running_it(tmp_path: Path) -> None:
    """Object arrays are pickles."""
    proof, file = tmp_path / "proof", tmp_path / "evil.npz"
    objects = np.array([Malicious(proof)], dtype=object)
    np.savez(file, allow_pickle=True, **{"model/g_snh0/Matrix": objects})
    proof.unlink(missing_ok=True)
    require_refusal(run("auto", file, "-o", tmp_path / "out"), tmp_path / "out", "evil.npz")
    assert not proof.exists()


def test_numpy_scalars_beside_the_weights_do_no_harm(state: State, tmp_path: Path) -> None:
    """Training scripts save scores as they come."""
    scores = {"best_fid": np.float64(12.8), "step": np.int64(7), "flag": np.bool_(True)}
    torch.save({"state_dict": state, **scores}, tmp_path / "G.pth")
    assert run("auto", tmp_path / "G.pth", "-o", tmp_path / "out").exit_code == 0


def _without(state: State) -> State:
    return {key: t for key, t in state.items() if key != KEY}


def _misshapen(state: State) -> State:
    return state | {KEY: torch.cat([state[KEY], state[KEY]])}


def _flat(state: State) -> State:
    return state | {KEY: state[KEY].flatten()}


def _with_nan(state: State) -> State:
    return state | {KEY: torch.full_like(state[KEY], float("nan"))}


def _sparse(state: State) -> State:
    return state | {KEY: state[KEY].to_sparse()}


def _meta(state: State) -> State:
    return state | {KEY: state[KEY].to("meta")}


def _whole_numbers(state: State) -> State:
    return state | {KEY: state[KEY].mul(10).to(torch.int64)}


def _complex(state: State) -> State:
    return state | {KEY: state[KEY].to(torch.complex64)}


def _truths(state: State) -> State:
    return state | {KEY: state[KEY] > 0}


def _too_large(state: State) -> State:
    return state | {KEY: state[KEY].double() * 1e300}


def _nothing_but_zeros(state: State) -> State:
    return state | {KEY: torch.zeros_like(state[KEY])}


def _sigma_overflows(state: State) -> State:
    return state | {KEY: torch.full_like(state[KEY], 3e38)}


@pytest.mark.parametrize(
    "change",
    [
        _sparse, _meta, _whole_numbers, _complex, _truths, _too_large, _nothing_but_zeros,
        _sigma_overflows,
    ],
)  # fmt: skip
def test_a_tensor_that_no_layer_can_compute_with_is_named(
    change: Callable[[State], State], state: State, tmp_path: Path
) -> None:
    """Of another kind than a dense one of numbers, or without a spectral norm to divide by."""
    torch.save({"state_dict": change(state)}, tmp_path / "G.pth")
    require_refusal(run("auto", tmp_path / "G.pth", "-o", tmp_path / "out"), tmp_path / "out", KEY)


def test_a_variance_below_zero_is_named(state: State, tmp_path: Path) -> None:
    """Its square root would make every picture NaN."""
    key = "blocks.1.0.bn1.bn.running_var"
    torch.save({"state_dict": state | {key: -state[key]}}, tmp_path / "G.pth")
    require_refusal(run("auto", tmp_path / "G.pth", "-o", tmp_path / "out"), tmp_path / "out", key)


@pytest.mark.parametrize("change", [_without, _misshapen, _flat, _with_nan])
def test_a_tensor_that_is_missing_misshapen_or_not_finite_is_named(
    change: Callable[[State], State], state: State, tmp_path: Path
) -> None:
    """By its key in the file."""
    torch.save({"state_dict": change(state)}, tmp_path / "G.pth")
    require_refusal(run("auto", tmp_path / "G.pth", "-o", tmp_path / "out"), tmp_path / "out", KEY)


@pytest.mark.parametrize("extra", ["extra.weight", "blocks.7.0.conv2d1.bias", "shared.weight"])
def test_a_tensor_too_many_is_named(extra: str, state: State, tmp_path: Path) -> None:
    """What has no place in the network may mean that it is another one."""
    torch.save({"state_dict": state | {extra: torch.zeros(3)}}, tmp_path / "G.pth")
    result = run("auto", tmp_path / "G.pth", "-o", tmp_path / "out")
    require_refusal(result, tmp_path / "out", extra)


@pytest.mark.parametrize("kept", [0, 1, 3, 100, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(kept: float, state: State, tmp_path: Path) -> None:
    """Down to no bytes at all."""
    file = tmp_path / "G.pth"
    torch.save({"state_dict": state}, file)
    content = file.read_bytes()
    file.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    require_refusal(run("auto", file, "-o", tmp_path / "out"), tmp_path / "out", "G.pth")


def test_a_truncated_file_of_the_old_form_is_refused(state: State, tmp_path: Path) -> None:
    """Which has no archive around it."""
    file = tmp_path / "G.pth"
    torch.save({"state_dict": state}, file, _use_new_zipfile_serialization=False)
    file.write_bytes(file.read_bytes()[:-500])
    require_refusal(run("auto", file, "-o", tmp_path / "out"), tmp_path / "out", "G.pth")


def test_a_flipped_byte_of_a_weight_is_noticed(state: State, tmp_path: Path) -> None:
    """By the archive's checksums."""
    file = tmp_path / "G.pth"
    torch.save({"state_dict": state}, file)
    content = bytearray(file.read_bytes())
    place = content.find(state[KEY].numpy().tobytes())
    content[place + 7] ^= 0x40
    file.write_bytes(content)
    require_refusal(run("auto", file, "-o", tmp_path / "out"), tmp_path / "out", "checksum")


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

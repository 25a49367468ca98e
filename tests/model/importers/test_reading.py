"""Files that cannot be read, or ask for more than tensors: nothing runs, one line says why."""

import os
import pickle
import warnings
from argparse import Namespace
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.model.importers.refusing import KEY, require_refusal, run, studiogan_state
from tests.model.importers.writers import State


@pytest.fixture
def state() -> State:
    return studiogan_state()


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


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize(
    "left",
    [
        np.float64(12.8), np.bool_(True), np.zeros(3), np.arange(4).reshape(2, 2),
        Namespace(lr=0.1), Path("runs/1"), datetime(2026, 1, 1, tzinfo=UTC),
        timedelta(2), defaultdict(list, a=[1]), deque([1, 2]), deque([1, 2], maxlen=3),
    ],
    ids=lambda left: type(left).__name__,
)  # fmt: skip
def test_what_training_scripts_leave_beside_the_weights_does_no_harm(
    left: object, archive: bool, state: State, tmp_path: Path
) -> None:
    """Scores, options, places and dates, as they come."""
    payload = {"args": left, "state_dict": state, "history": [left, {"best": left}]}
    torch.save(payload, tmp_path / "G.pth", _use_new_zipfile_serialization=archive)
    result = run("auto", tmp_path / "G.pth", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_a_stand_in_never_calls_what_it_stands_for(state: State, tmp_path: Path) -> None:
    """Not the factory of a defaultdict, and no function under a name that is not known."""
    proof, file = tmp_path / "proof", tmp_path / "G.pth"
    torch.save({"state_dict": state, "a": defaultdict(list), "b": Malicious(proof)}, file)
    require_refusal(run("auto", file, "-o", tmp_path / "out"), tmp_path / "out", "posix.system")
    assert not proof.exists()


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

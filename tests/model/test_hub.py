"""Checkpoints on the Hub: the real client, and a server that speaks as much of the protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model import Checkpoint, ClassInfo, Generator, GeneratorConfig
from model.checkpoint import CheckpointError, checkpoint_folder, load_checkpoint
from model.cli.pushing import model_card
from model.hub import HubError, HubPlace, hub_place
from tests.model.hub_server import TOKEN, HubState, hub

CLASSES = (ClassInfo(name="tabby | cat", wnid="n02123045"), ClassInfo(name="hen"))
SAGAN = [sys.executable, "-P", "-m", "sagan"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint with a licence."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(resolution=32, base_channels=4, num_classes=2))
    made = Checkpoint(generator, classes=CLASSES, facts={"licence": "cc-by-4.0"})
    return made.save(tmp_path / "cats", {"README.md": b"---\nlicense: x\n---\nTrained on hens.\n"})


@pytest.fixture
def server() -> Iterator[tuple[str, HubState]]:
    with hub() as running:
        yield running


def sagan(
    endpoint: str, home: Path, *args: object, **more: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command with a cache of its own; huggingface_hub reads its variables at import."""
    given = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",  # large files go by Git LFS, which the server speaks
    }
    return subprocess.run(
        [*SAGAN, *map(str, args)],
        env={**os.environ, **given, **more},
        capture_output=True,
        text=True,
        timeout=100,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.slow
def test_a_checkpoint_that_was_pushed_is_used_by_its_name_also_without_a_connection(
    folder: Path, server: tuple[str, HubState], tmp_path: Path
) -> None:
    """Only the files of a checkpoint are downloaded, and a revision is downloaded once."""
    endpoint, state = server
    home = tmp_path / "home"
    pushed = sagan(endpoint, home, "push", folder, "hf:me/cats")
    assert pushed.returncode == 0, pushed.stderr
    first = state.revisions["me/cats", "main"]
    assert f"sagan serve --model hf:me/cats@{first}" in pushed.stdout
    files = dict(state.commits["me/cats"][first])
    assert set(files) == {"README.md", "config.json", "model.safetensors"}
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    state.commit("me/cats", "main", {"pytorch_model.bin": b"a pickle", "run.py": b"a program"})
    fingerprint = load_checkpoint(folder).fingerprint
    for revision in ("main", first):
        seen = sagan(endpoint, home, "inspect", f"hf:me/cats@{revision}")
        assert seen.returncode == 0, seen.stderr
        assert fingerprint[:12] in seen.stdout
    assert set(state.fetched) == {"README.md", "config.json", "model.safetensors"}
    assert not list(home.rglob("pytorch_model.bin"))
    fetched = len(state.fetched)
    offline = sagan(endpoint, home, "inspect", "hf:me/cats@main", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert fingerprint[:12] in offline.stdout
    unreachable = sagan("http://127.0.0.1:9", home, "inspect", f"hf:me/cats@{first}")
    assert unreachable.returncode == 0, unreachable.stderr
    assert len(state.fetched) == fetched


@pytest.mark.slow
def test_what_the_hub_does_not_have_is_named_with_what_to_do(
    server: tuple[str, HubState], folder: Path, tmp_path: Path
) -> None:
    """In one line, and never a traceback."""
    endpoint, state = server
    state.commit("me/other", "main", {"pytorch_model.bin": b"a pickle"})
    home = tmp_path / "home"
    cases = (
        ("inspect", "hf:me/none@main", "hf:me/none@main: there is no such repository"),
        ("inspect", "hf:me/other@v9", "hf:me/other@v9: it has no such revision"),
        ("inspect", "hf:me/other@main", "has no config.json and no model.safetensors: it is no"),
    )
    for command, name, why in cases:
        done = sagan(endpoint, home, command, name)
        assert done.returncode != 0
        assert why in done.stderr
        assert "Traceback" not in done.stderr
    refused = sagan(endpoint, home, "push", folder, "hf:me/cats", HF_TOKEN=TOKEN[::-1])
    assert refused.returncode != 0
    assert "set HF_TOKEN" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "me/cats" not in state.commits


@pytest.mark.parametrize(
    "text", ["hf:", "hf:cats", "hf:me/", "hf:me/cats@", "hf:me/cats/x", "hf:../..", "hf:me/c ts"]
)
def test_what_names_no_repository_is_refused(text: str) -> None:
    """With the form that does."""
    with pytest.raises(HubError, match="write hf:ORG/NAME@REVISION"):
        hub_place(text)
    with pytest.raises(CheckpointError, match="write hf:ORG/NAME@REVISION"):
        checkpoint_folder(text)


def test_a_place_is_a_repository_and_a_revision() -> None:
    """Without one it is the branch main."""
    assert hub_place("hf:me/cats") == HubPlace("me/cats", "main")
    assert hub_place("hf:me/c.a-t_s@refs/pr/1") == HubPlace("me/c.a-t_s", "refs/pr/1")
    assert str(hub_place("hf:me/cats@v1")) == "hf:me/cats@v1"
    assert hub_place("hf:me/cats@v1").name == "cats"


def test_the_model_card_has_licence_classes_and_how_to_serve_it(folder: Path) -> None:
    """A name with a bar is still one cell; the card's own text comes last."""
    card = model_card(load_checkpoint(folder), HubPlace("me/cats", "main"), "cc-by-4.0", "Hens.")
    assert card.startswith('---\nlicense: "cc-by-4.0"\n')
    assert "sagan serve --model hf:me/cats@main" in card
    assert "| 0 | tabby \\| cat | n02123045 |" in card
    assert card.endswith("Hens.\n")

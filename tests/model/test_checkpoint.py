"""Checkpoint folders: whole or not at all, and named by what they hold."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import Checkpoint, CheckpointError, ClassInfo, load_checkpoint, shipped_names
from model.config import DiscriminatorConfig, GeneratorConfig
from model.discriminator import Discriminator
from model.generator import Generator

CONFIG = GeneratorConfig(resolution=32, base_channels=8, num_classes=2)
CLASSES = (ClassInfo(name="tabby", wnid="n02123045", aliases=("tabby cat",)), ClassInfo(name="hen"))


def checkpoint(seed: int = 0) -> Checkpoint:
    torch.manual_seed(seed)
    discriminator = Discriminator(
        DiscriminatorConfig(resolution=32, base_channels=8, num_classes=2)
    )
    return Checkpoint(Generator(CONFIG), discriminator, CLASSES, {"command": "sagan train x"})


def test_a_saved_checkpoint_loads_as_it_was(tmp_path: Path) -> None:
    """Networks, classes, facts and fingerprint come back; both networks are in eval mode."""
    saved = checkpoint()
    loaded = load_checkpoint(saved.save(tmp_path / "cats"))
    assert loaded.fingerprint == saved.fingerprint
    assert loaded.config == CONFIG
    assert loaded.classes == CLASSES
    assert loaded.facts == {"command": "sagan train x"}
    assert loaded.discriminator is not None
    assert not loaded.generator.training
    assert not loaded.discriminator.training
    z, labels = torch.randn(2, 128), torch.tensor([0, 1])
    images = saved.generator(z, labels)
    assert torch.equal(loaded.generator(z, labels), images)
    assert saved.discriminator is not None
    assert torch.equal(loaded.discriminator(images, labels), saved.discriminator(images, labels))


def test_a_generator_alone_is_loaded_without_a_look_at_the_discriminator(tmp_path: Path) -> None:
    """As serving does: that file need not even be readable."""
    folder = checkpoint().save(tmp_path / "cats")
    (folder / "discriminator.safetensors").write_bytes(b"")
    loaded = load_checkpoint(folder, discriminator=False)
    assert loaded.discriminator is None
    assert loaded.fingerprint == checkpoint().fingerprint


def test_the_fingerprint_is_the_generators_alone(tmp_path: Path) -> None:
    """Other class names, facts or discriminator: the same. One changed weight: another."""
    first = checkpoint()
    renamed = Checkpoint(first.generator, None, (), {})
    assert renamed.fingerprint == first.fingerprint
    other = checkpoint(seed=1)
    assert other.fingerprint != first.fingerprint
    with torch.no_grad():
        first.generator.norm.weight[0] += 1e-6
    assert Checkpoint(first.generator).fingerprint != renamed.fingerprint


def test_a_fingerprint_is_pinned_for_good() -> None:
    """Image ids carry it: a later version must give an old generator the same one."""
    generator = Generator(CONFIG)
    for tensor in generator.state_dict().values():
        tensor.fill_(0.25 if tensor.is_floating_point() else 3)
    assert Checkpoint(generator).fingerprint.startswith("877c7587ee6426e9")


def test_one_network_has_one_fingerprint_however_its_attention_is_listed() -> None:
    """Order and repetition in `attention_at` mean nothing."""
    options = {"resolution": 32, "base_channels": 8, "num_classes": 2}
    sorted_, jumbled = (
        GeneratorConfig.model_validate(options | {"attention_at": places})
        for places in ((8, 16), (16, 8, 8))
    )
    assert sorted_ == jumbled


def test_a_changed_weight_changes_what_is_saved(tmp_path: Path) -> None:
    """The fingerprint on disk is that of the weights on disk, whatever was asked before."""
    edited = checkpoint()
    before = edited.fingerprint
    torch.nn.init.zeros_(edited.generator.norm.weight)
    assert load_checkpoint(edited.save(tmp_path / "c")).fingerprint != before


def test_saving_never_deletes_what_is_no_checkpoint(tmp_path: Path) -> None:
    """A run's folder, or any other, given by mistake is left alone."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not touched"):
        checkpoint().save(tmp_path / "run")
    assert (tmp_path / "run" / "train.json").exists()


def test_loading_leaves_the_random_stream_alone(tmp_path: Path) -> None:
    """Nothing is initialised only to be overwritten."""
    folder = checkpoint().save(tmp_path / "c")
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    load_checkpoint(folder)
    assert torch.equal(torch.rand(1), expected)


def test_saving_again_replaces_the_folder_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """No stale discriminator, no partial folders."""
    path = tmp_path / "run"
    checkpoint().save(path)
    newer = Checkpoint(checkpoint(seed=1).generator)
    newer.save(path)
    assert load_checkpoint(path).fingerprint == newer.fingerprint
    assert sorted(p.name for p in path.iterdir()) == ["config.json", "model.safetensors"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("norm.weight")
    save_file(tensors, folder / "model.safetensors")


def reshape_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["norm.weight"] = torch.ones(3)
    save_file(tensors, folder / "model.safetensors")


def nudge_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["norm.weight"] += 1
    save_file(tensors, folder / "model.safetensors")


DAMAGE = {
    "truncated weights": (cut_weights, "not readable as safetensors"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors"),
    "missing tensor": (drop_tensor, "tensor norm.weight is missing"),
    "wrong shape": (reshape_tensor, r"norm.weight has shape \(3,\)"),
    "changed weights": (nudge_tensor, "fingerprint"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "not readable as JSON"),
    "other format": (lambda f: edit_config(f, format=9), "format 9"),
    "bad generator": (lambda f: edit_config(f, generator={"resolution": 5}), "generator"),
    "too few classes": (lambda f: edit_config(f, classes=[{"name": "a"}]), "1 class names"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_folder_is_refused_with_what_is_wrong(case: str, tmp_path: Path) -> None:
    """Each way to break a checkpoint gives one CheckpointError that names the trouble."""
    damage, message = DAMAGE[case]
    folder = checkpoint().save(tmp_path / "c")
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    """The error says what there is."""
    with pytest.raises(CheckpointError, match=r"no-such.*shipped"):
        load_checkpoint("no-such")


def test_the_shipped_checkpoint_knows_its_classes_and_its_command() -> None:
    """The default is a trained one, golden_retriever among its classes, its run recorded."""
    shipped = load_checkpoint()
    names = [c.name for c in shipped.classes]
    assert "golden_retriever" in names
    assert len(names) >= 10
    assert all(c.wnid is not None for c in shipped.classes)
    assert str(shipped.facts["command"]).startswith("sagan train")
    assert "picturebook-64" in shipped_names()

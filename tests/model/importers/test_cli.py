"""`sagan import`: what it writes, where, and what it says."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from click.testing import CliRunner, Result

from model.checkpoint import load_checkpoint
from model.folders import models_folder
from model.importers.cli import import_command
from model.importers.download import sha256
from model.importers.importing import describe
from model.sampling.sampler import Sampler
from tests.model.importers import layouts
from tests.model.importers.layouts import write_discriminator, write_generator


def run(*args: object) -> Result:
    result = CliRunner().invoke(import_command, [str(a) for a in args])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    state, _ = write_generator(layouts.STUDIOGAN, (16, 8, 24, 16), [1], 3, 6)
    torch.save({"state_dict": state}, tmp_path / "model=G-best.pth")
    return tmp_path / "model=G-best.pth"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    return tmp_path


@pytest.fixture
def address(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a server of a small checkpoint with ImageNet's 1,000 classes, its checksum in its name."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    torch.manual_seed(0)
    state, _ = write_generator(layouts.MMGENERATION_EMA, (8, 8, 8, 8), [1], 1000, 6)
    judged, _ = write_discriminator(layouts.MMGENERATION, (8, 8, 8, 8), [0], 1000)
    folder = home / "public"
    folder.mkdir()
    torch.save({"meta": {}, "state_dict": state | judged}, folder / "sagan.pth")
    name = f"sagan_128-{sha256(folder / 'sagan.pth')[:8]}.pth"
    (folder / "sagan.pth").rename(folder / name)
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{name}"
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_an_imported_checkpoint_is_an_ordinary_folder(generator: Path, tmp_path: Path) -> None:
    """Loaded, sampled and known by its fingerprint like any other, with where it came from."""
    (tmp_path / "names.txt").write_text("cat\ndog\nowl\n")
    out = tmp_path / "out"
    said = run("auto", generator, "-o", out, "--classes", tmp_path / "names.txt").output
    checkpoint = load_checkpoint(out)
    assert [c.name for c in checkpoint.classes] == ["cat", "dog", "owl"]
    assert checkpoint.fingerprint in said
    imported = checkpoint.facts["imported"]
    assert isinstance(imported, dict)
    assert imported["format"] == "studiogan"
    assert imported["files"] == [{"name": generator.name, "sha256": sha256(generator)}]
    assert Sampler(checkpoint, "cpu").sample([0, 2], [1, 2]).shape == (2, 32, 32, 3)


def test_the_output_names_all_that_no_shape_tells(generator: Path, tmp_path: Path) -> None:
    """And the flags that change it."""
    said = run("studiogan", generator, "-o", tmp_path / "out", "--batch-norm-eps", "1e-3").output
    for fragment in ("0.001 (--batch-norm-eps)", "--colour-order", "skip-sees-relu", "nearest"):
        assert fragment in said


def test_without_a_folder_it_goes_to_the_users_models(generator: Path, home: Path) -> None:
    """Under the file's name."""
    run("auto", generator)
    assert load_checkpoint(models_folder() / "model-G-best").config.num_classes == 3
    assert home in models_folder().parents


def test_another_model_of_the_same_name_is_not_overwritten(generator: Path, home: Path) -> None:
    """Where the user has not named the folder; the same one again is no harm."""
    run("auto", generator)
    first = load_checkpoint(models_folder() / "model-G-best").fingerprint
    run("auto", generator)
    state, _ = write_generator(layouts.STUDIOGAN, (16, 8, 24, 16), [1], 3, 6)
    torch.save({"state_dict": state}, generator)
    result = CliRunner().invoke(import_command, ["auto", str(generator)])
    assert result.exit_code == 1
    assert f"holds another model (fingerprint {first}): give another place with -o" in result.output
    assert load_checkpoint(models_folder() / "model-G-best").fingerprint == first
    out = ("-o", models_folder() / "model-G-best")
    assert first not in run("auto", generator, *out).output


def test_the_name_of_an_address_is_without_its_query(address: str) -> None:
    """Its scheme in capitals, a percent sign's letters decoded."""
    run("auto", address.replace("http", "HTTP").replace("sagan_", "s%61gan_") + "?download=a/b")
    name = address.rpartition("/")[2].removesuffix(".pth")
    assert load_checkpoint(models_folder() / name).config.num_classes == 1000


def test_a_failed_download_is_one_line(address: str) -> None:
    """No bar before anything came."""
    result = CliRunner().invoke(import_command, ["auto", address + ".none"])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)


def test_imagenet_128_is_fetched_checked_converted_and_named(address: str) -> None:
    """Under its own name, with ImageNet's classes, its source and its licence."""
    run("imagenet-128", address)
    checkpoint = load_checkpoint(models_folder() / "imagenet-128")
    assert checkpoint.classes[207].name == "golden_retriever"
    assert checkpoint.discriminator is not None
    assert checkpoint.facts["source"] == address
    assert "Apache-2.0" in str(checkpoint.facts["licence"])


def test_an_address_may_stand_for_a_file(address: str, tmp_path: Path) -> None:
    """Of any format."""
    run("auto", address, "-o", tmp_path / "out")
    assert load_checkpoint(tmp_path / "out").config.num_classes == 1000


def test_a_foreign_file_is_described(generator: Path) -> None:
    """For `sagan inspect`."""
    lines = "\n".join(describe(generator))
    assert "format          studiogan" in lines
    assert "32 px, base channels 8, 3 classes, z 6, attention at (16,)" in lines


def test_without_a_file_the_usage_is_said() -> None:
    """Only the recommended checkpoint has an address of its own."""
    result = CliRunner().invoke(import_command, ["auto"])
    assert (result.exit_code, "which file?" in result.output) == (2, True)

"""`sagan generate`, `attention` and `inspect` on a small checkpoint."""

import io
import json
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import sagan
from app.queue.messages import Job
from app.settings import ModelSource, load_settings
from app.worker.renderer import load_renderer
from model.checkpoint import Checkpoint, ClassInfo
from model.cli.image_files import Drawn, write_array, write_folder, write_sheet
from model.config import GeneratorConfig
from model.generator import Generator
from model.pictures import GUTTER_PX
from tests.training.full_disk import files_up_to


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(resolution=32, base_channels=8, num_classes=2))
    for name, parameter in generator.named_parameters():
        if name.endswith("gamma"):  # 0 before training, when attention adds nothing
            torch.nn.init.ones_(parameter)
    classes = (
        ClassInfo(name="golden_retriever", wnid="n02099601", aliases=("golden retriever",)),
        ClassInfo(name="tabby", wnid="n02123045"),
    )
    return Checkpoint(generator, classes=classes).save(tmp_path_factory.mktemp("c") / "small")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for one another make so small a network slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(*args: object) -> Result:
    return CliRunner().invoke(sagan.main, [str(a) for a in args])


def size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size


@pytest.mark.parametrize("name", ["golden_retriever", "n02099601", "0", "Golden Retriever"])
def test_generate_writes_a_png_for_any_spelling_of_a_class(
    name: str, folder: Path, tmp_path: Path
) -> None:
    """Name, WordNet id, index and alias all find it; the seed used is said."""
    out = tmp_path / "dog.png"
    result = run("generate", "--model", folder, "--class", name, "--seed", 7, "-o", out)
    assert result.exit_code == 0, result.output
    assert "golden_retriever, seed 7" in result.output
    assert size_of(out) == (32, 32)


def test_several_pictures_become_a_sheet(folder: Path, tmp_path: Path) -> None:
    """Five pictures: a sheet three wide and two high."""
    out = tmp_path / "sheet.png"
    assert run("generate", "--model", folder, "--class", 1, "-n", 5, "-o", out).exit_code == 0
    assert size_of(out) == (3 * 34 - 2, 2 * 34 - 2)


def test_attention_draws_a_panel_a_query(folder: Path, tmp_path: Path) -> None:
    """The picture first, then a map for each --at."""
    out = tmp_path / "maps.png"
    result = run("attention", "--model", folder, "--class", "tabby", "--at", 3, 4, "--at", 20, 9,
                 "--size", 64, "-o", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert size_of(out) == (3 * 66 - 2, 64)


def test_an_attention_scale_draws_another_picture(folder: Path, tmp_path: Path) -> None:
    """With `generate` and with `attention`; 1 is the default."""
    files = []
    for name, scale in (("default", ()), ("one", (1,)), ("none", (0,))):
        flags = ("--class", 0, "--seed", 3, *(("--attention-scale", *scale) if scale else ()))
        for command, more in (("generate", ()), ("attention", ("--at", 20, 30))):
            out = tmp_path / f"{name}-{command}.png"
            result = run(command, "--model", folder, *flags, *more, "-o", out)
            assert result.exit_code == 0, result.output
            files.append(out.read_bytes())
    assert files[:2] == files[2:4]
    assert files[0] != files[4]
    assert files[1] != files[5]


def test_inspect_names_the_fingerprint_and_the_classes(folder: Path) -> None:
    """Enough to tell two checkpoints apart."""
    result = run("inspect", folder)
    assert result.exit_code == 0
    assert "fingerprint" in result.output
    assert "golden_retriever, tabby" in result.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("generate", "--class", ""), "no class is called ''"),
        (("generate", "--class", "yak"), "no class is called 'yak'; there are: golden_retriever"),
        (("generate", "--class", "0", "--truncation", "9"), "truncation=9.0"),
        (("generate", "--class", "0", "--attention-scale", "2.5"), "0<=x<=2"),
        (("attention", "--class", "0", "--at", "40", "2"), "(40, 2) is outside the 32×32"),
    ],
)
def test_a_bad_value_is_one_clear_line(
    args: tuple[str, ...], message: str, folder: Path, tmp_path: Path
) -> None:
    """Exit status 2, the value named, no traceback, no file."""
    out = tmp_path / "x.png"
    result = run(args[0], "--model", folder, *args[1:], "-o", out)
    assert result.exit_code == 2
    assert message in result.output
    assert not out.exists()


def test_a_missing_folder_is_said_before_anything_is_drawn(folder: Path, tmp_path: Path) -> None:
    """A typing mistake in -o costs no work and gives no traceback."""
    out = tmp_path / "nowhere" / "x.png"
    result = run("generate", "--model", folder, "--class", "0", "-o", out)
    assert result.exit_code == 2
    assert f"there is no folder {out.parent}" in result.output


def test_help_needs_no_package_of_the_commands() -> None:
    """`sagan --help` lists every command without importing torch."""
    result = run("--help")
    assert result.exit_code == 0
    assert all(name in result.output for name in sagan.COMMANDS)


@pytest.mark.slow
def test_a_folder_or_an_array_takes_many_images(folder: Path, tmp_path: Path) -> None:
    """Files are named by class and seed; an array has labels and seeds too."""
    common = ("generate", "--model", folder, "--class", "tabby", "--seed", 9, "-n", 70)
    result = run(*common, "-o", tmp_path / "cats")
    assert result.exit_code == 0, result.output
    assert "tabby, seed 9 to 78" in result.output
    files = sorted(file.name for file in (tmp_path / "cats").iterdir())
    assert len(files) == 70
    assert (files[0], files[-1]) == ("tabby-0000000009.png", "tabby-0000000078.png")
    assert run(*common, "-o", tmp_path / "cats.npz").exit_code == 0
    with np.load(tmp_path / "cats.npz") as arrays:
        assert arrays["arr_0"].shape == (70, 32, 32, 3)
        assert arrays["labels"].tolist() == [1] * 70
        assert arrays["seeds"].tolist() == list(range(9, 79))
        with Image.open(tmp_path / "cats" / files[-1]) as last:
            assert np.array_equal(np.asarray(last), arrays["arr_0"][-1])


@pytest.mark.slow
def test_a_walk_begins_and_ends_with_the_two_images(folder: Path, tmp_path: Path) -> None:
    """A strip has all frames side by side; a WebP is an animation."""
    walk = ("walk", "--model", folder, "--class", 0, "--seed", 1, "--to-class", 1, "--to-seed", 2)
    assert run(*walk, "--frames", 5, "-o", tmp_path / "strip.png").exit_code == 0
    for label, seed in ((0, 1), (1, 2)):
        out = tmp_path / f"{label}.png"
        run("generate", "--model", folder, "--class", label, "--seed", seed, "-o", out)
    with Image.open(tmp_path / "strip.png") as strip:
        pixels = np.asarray(strip)
    assert pixels.shape == (32, 5 * 34 - 2, 3)
    for part, name in ((pixels[:, :32], "0.png"), (pixels[:, -32:], "1.png")):
        with Image.open(tmp_path / name) as image:
            assert np.array_equal(np.asarray(image), part)
    assert run(*walk, "--frames", 5, "-o", tmp_path / "walk.webp").exit_code == 0
    with Image.open(tmp_path / "walk.webp") as animation:
        assert getattr(animation, "n_frames", 1) == 5


def test_classes_are_listed_and_searched(folder: Path) -> None:
    """By a part of any name; as a table or as JSON."""
    assert "n02123045" in run("classes", "--model", folder).output
    found = json.loads(run("classes", "RETR", "--model", folder, "--json").output)
    assert [(row["index"], row["name"]) for row in found] == [(0, "golden_retriever")]
    nothing = run("classes", "zebra", "--model", folder)
    assert nothing.exit_code == 1
    assert "no class has 'zebra' in its names" in nothing.output


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("genrate",), "no command is called 'genrate'; did you mean generate?"),
        (("generate", "--class", "tabbi", "-o", "a.png"), "did you mean tabby?"),
        (("generate", "--class", "GoldenRetreiver", "-o", "a.png"), "mean golden_retriever?"),
        (("generate", "--class", "x" * 99_999, "-o", "a.png"), "xx…'; there are: golden_retriever"),
        (("generate", "--class", "0", "--sede", "1", "-o", "a.png"), "'--seed'?)"),
        (("generate", "--class", "0", "--class", "1", "-o", "a.png"), "given 2 times (0, 1)"),
        (("generate", "--class", "0", "-o", "/dev/null"), "/dev/null is a file"),
        (("attention", "--class", "0", *["--at", "1", "1"] * 9, "-o", "a.png"), "at most 8"),
        (
            ("generate", "--class", "0", "--seed", "4294967295", "-n", "2", "-o", "a.png"),
            "seeds end at 4294967295, and 2 images from seed 4294967295 need 4294967296",
        ),
        (("generate", "--class", "0", "-n", "1001", "-o", "a.png"), "at most 1000 images"),
        (("generate", "--class", "0", "-o", "a.gif"), "does not end in .png"),
        (("generate", "--class", "0", "--model", "b", "-o", "a.png"), "--model': given 2 times"),
        (("walk", "--class", "0", "-o", "a.png"), "nowhere to walk to"),
    ],
)
def test_a_slip_is_named_and_mended(args: tuple[str, ...], line: str, folder: Path) -> None:
    """In one line, before anything is drawn."""
    model = () if args == ("genrate",) else ("--model", folder)
    result = run(*args, *model)
    assert result.exit_code == 2
    assert line in " ".join(result.output.split())


@pytest.mark.parametrize("command", ["generate", "walk", "attention", "classes", "inspect"])
def test_a_model_that_is_not_there_gets_similar_names(command: str, tmp_path: Path) -> None:
    """A wrong command line: status 2, as for a class that is not there."""
    flags: dict[str, tuple[str, ...]] = {
        "generate": ("--class", "0"),
        "walk": ("--class", "0", "--to-seed", "1"),
        "attention": ("--class", "0", "--at", "1", "1"),
    }
    out = ("-o", str(tmp_path / "a.png")) if command in flags else ()
    named = ("picturbook-64",) if command == "inspect" else ("--model", "picturbook-64")
    result = run(command, *named, *flags.get(command, ()), *out)
    assert result.exit_code == 2
    assert "picturbook-64: neither a checkpoint folder nor" in result.output
    assert "did you mean picturebook-64?" in " ".join(result.output.split())


def test_classes_that_nothing_matches_get_similar_names(folder: Path) -> None:
    """By aliases too."""
    result = run("classes", "golden retreiver", "--model", folder)
    assert result.exit_code == 1
    assert "did you mean golden_retriever?" in result.output


def test_the_array_streams_into_tools_for_fid(folder: Path, tmp_path: Path) -> None:
    """Read as the evaluator of guided-diffusion reads: the header of arr_0, then batch by batch."""
    out = tmp_path / "cats.npz"
    assert run("generate", "--model", folder, "--class", 1, "-n", 70, "-o", out).exit_code == 0
    with zipfile.ZipFile(out) as archive, archive.open("arr_0.npy") as member:
        assert np.lib.format.read_magic(member) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        assert (shape, fortran, dtype) == ((70, 32, 32, 3), False, np.dtype("uint8"))
        assert len(member.read()) == 70 * 32 * 32 * 3
    with np.load(out, allow_pickle=False) as arrays:
        assert {name: arrays[name].dtype.name for name in arrays} == {
            "arr_0": "uint8", "labels": "int64", "seeds": "int64",
        }  # fmt: skip


def drawn(num_images: int, *, until: int | None = None, side: int = 64) -> Drawn:
    """Grey images in batches of 16; Ctrl-C is pressed before image `until`."""

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, num_images, 16):
            if until is not None and start >= until:
                raise KeyboardInterrupt
            yield np.full((min(16, num_images - start), side, side, 3), start % 256, np.uint8)

    return Drawn(batches(), num_images, "grey", ((0, 1000),), 5)


def test_the_memory_of_an_array_does_not_grow_with_it(tmp_path: Path) -> None:
    """A hundred times the images of a batch need no more than four batches' memory."""
    batch_bytes = 16 * 64 * 64 * 3
    tracemalloc.start()
    try:
        write_array(tmp_path / "a.npz", drawn(1600))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "a.npz").stat().st_size > 100 * batch_bytes
    assert peak < 4 * batch_bytes


@pytest.mark.parametrize("write", [write_array, write_sheet, write_folder])
def test_ctrl_c_leaves_no_half_file(write: Callable[[Path, Drawn], None], tmp_path: Path) -> None:
    """An older file stays as it was; of a folder the images that were finished stay."""
    out = tmp_path / ("grey.npz" if write is write_array else "grey.png")
    out = tmp_path / "greys" if write is write_folder else out
    if write is not write_folder:
        out.write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt):
        write(out, drawn(64, until=32))
    assert [file.name for file in tmp_path.iterdir()] == [out.name]
    if write is write_folder:
        assert len(list(out.iterdir())) == 32
        assert {size_of(file) for file in out.iterdir()} == {(64, 64)}
    else:
        assert out.read_bytes() == b"older"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_ended_leaves_no_half_array(
    number: signal.Signals, folder: Path, tmp_path: Path
) -> None:
    """A real one, in the middle of a million images; SIGINT also takes the part away."""
    out = tmp_path / "cats.npz"
    out.write_bytes(b"older")
    command = [sys.executable, "-m", "sagan", "generate", "--model", str(folder), "--class", "1",
               "-n", "1000000", "-o", str(out)]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        deadline_s = time.monotonic() + 100
        while not any(part.stat().st_size > 100_000 for part in tmp_path.glob(".sagan-*.part")):
            assert process.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert out.read_bytes() == b"older"
    if number == signal.SIGINT:
        assert process.returncode == 1
        assert told.decode().endswith("Aborted!\n")
        assert [file.name for file in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("name", ["cats.npz", "cats.png", "cats"])
def test_a_full_disk_is_told_and_leaves_no_half_file(
    name: str, folder: Path, tmp_path: Path
) -> None:
    """In one line, with status 1."""
    args = ("generate", "--model", folder, "--class", 1, "-n", 4, "-o", tmp_path / name)
    with files_up_to(100):
        result = run(*args)
    assert result.exit_code == 1
    assert result.output == f"Error: {tmp_path / name}: File too large\n"
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_link_stays_a_link(folder: Path, tmp_path: Path) -> None:
    """And what it leads to is replaced."""
    (tmp_path / "real.png").write_bytes(b"older")
    (tmp_path / "link.png").symlink_to("real.png")
    args = ("generate", "--model", folder, "--class", 1, "-o", tmp_path / "link.png")
    assert run(*args).exit_code == 0
    assert (tmp_path / "link.png").is_symlink()
    assert size_of(tmp_path / "real.png") == (32, 32)


@pytest.mark.parametrize("model", ["small", pytest.param("picturebook-64", marks=pytest.mark.slow)])
def test_a_seed_gives_what_the_service_draws(model: str, folder: Path, tmp_path: Path) -> None:
    """An image, a walk and maps of attention: the pixels of a worker with its default settings."""
    source = ModelSource("it", str(folder) if model == "small" else model)
    renderer = load_renderer(source, load_settings())

    def served(**job: Any) -> bytes:
        asked = Job(renderer.card.fingerprint, **job)
        return renderer.encode(asked, renderer.render([asked])[0])

    def pixels(file: Path | bytes) -> np.ndarray:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            return np.asarray(image.convert("RGB"))

    flags = ("--model", source.location, "--class", 1)
    assert run("generate", *flags, "--seed", 70, "-n", 70, "-o", tmp_path / "many").exit_code == 0
    files = sorted((tmp_path / "many").iterdir())
    for seed, file in ((70, files[0]), (139, files[-1])):
        assert np.array_equal(pixels(file), pixels(served(label=1, seed=seed)))
    at = ("--at", 3, 4, "--at", 20, 9, "--view", "overlay", "--size", 64)
    assert run("attention", *flags, "--seed", 3, *at, "-o", tmp_path / "maps.png").exit_code == 0
    queries = ((3, 4), (20, 9))
    maps = served(label=1, seed=3, kind="attention", queries=queries, size_px=64)
    assert np.array_equal(pixels(tmp_path / "maps.png"), pixels(maps))
    way = ("--seed", 3, "--to-class", 0, "--to-seed", 9, "--frames", 8)
    assert run("walk", *flags, *way, "-o", tmp_path / "walk.png").exit_code == 0
    thousandths = round(1000 * 3 / 7)
    frame = served(
        label=1, seed=3, kind="frame", to_label=0, to_seed=9, part_thousandths=thousandths
    )
    strip, expected = pixels(tmp_path / "walk.png"), pixels(frame)
    left = 3 * (expected.shape[1] + GUTTER_PX)
    assert np.array_equal(strip[:, left : left + expected.shape[1]], expected)


def test_a_mix_of_classes_is_drawn(folder: Path, tmp_path: Path) -> None:
    """One class whole is that class; an array has the mix; a slip is one clear line."""

    def drawn(*args: object, out: str = "one.png") -> bytes:
        model = () if "--model" in args else ("--model", folder)
        result = run("generate", *model, "--seed", 3, *args, "-o", tmp_path / out)
        assert result.exit_code == 0, result.output
        return (tmp_path / out).read_bytes()

    whole = drawn("--class", "tabby")
    assert drawn("--mix", "tabby:0.2,golden_retriever:0") == whole
    assert drawn("--mix", "tabby:0.6,golden_retriever:0.4") == drawn("--mix", "0:2,1:3")
    shipped = ("--model", "picturebook-64")
    hows = (("--class", "zebra"), ("--class", "castle"), ("--mix", "zebra:0.5,castle:0.5"))
    assert len({drawn(*shipped, *how) for how in hows}) == 3
    drawn("--mix", "0:2,1:3", "-n", 2, out="two.npz")
    with np.load(tmp_path / "two.npz") as arrays:
        assert arrays["mix"].tolist() == [[1, 600], [0, 400]]
        assert arrays["arr_0"].shape == (2, 32, 32, 3)
    for args, told in (
        (("--mix", "tabby"), "has no weight"),
        (("--mix", "tabby:1,lion:1"), "no class is called 'lion'"),
        (("--mix", "0:1", "--class", "0"), "give either --class or --mix"),
        ((), "give either --class or --mix"),
    ):
        result = run("generate", "--model", folder, *args, "-o", tmp_path / "no.png")
        assert result.exit_code == 2
        assert told in result.output
    assert not (tmp_path / "no.png").exists()

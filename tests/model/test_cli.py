"""`sagan generate`, `attention` and `inspect` on a small checkpoint."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import sagan
from model.checkpoint import Checkpoint, ClassInfo
from model.config import GeneratorConfig
from model.generator import Generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(resolution=32, base_channels=8, num_classes=2))
    classes = (
        ClassInfo(name="golden_retriever", wnid="n02099601", aliases=("golden retriever",)),
        ClassInfo(name="tabby", wnid="n02123045"),
    )
    return Checkpoint(generator, classes=classes).save(tmp_path_factory.mktemp("c") / "small")


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


def test_an_attention_scale_draws_another_picture(tmp_path: Path) -> None:
    """With `generate` and with `attention`; 1 is the default."""
    files = []
    for name, scale in (("default", ()), ("one", (1,)), ("none", (0,))):
        flags = ("--class", 0, "--seed", 3, *(("--attention-scale", *scale) if scale else ()))
        for command, more in (("generate", ()), ("attention", ("--at", 20, 40))):
            out = tmp_path / f"{name}-{command}.png"
            result = run(command, *flags, *more, "-o", out)
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
        assert arrays["images"].shape == (70, 32, 32, 3)
        assert arrays["labels"].tolist() == [1] * 70
        assert arrays["seeds"].tolist() == list(range(9, 79))
        with Image.open(tmp_path / "cats" / files[-1]) as last:
            assert np.array_equal(np.asarray(last), arrays["images"][-1])


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
        assert arrays["images"].shape == (2, 32, 32, 3)
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

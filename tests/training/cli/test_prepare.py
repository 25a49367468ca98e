"""`sagan prepare` and `sagan presets` from the command line."""

from pathlib import Path

from click.testing import CliRunner, Result
from PIL import Image

import sagan


def run(*args: object) -> Result:
    return CliRunner().invoke(sagan.main, list(map(str, args)))


def write_pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("L", (8, 8), i).save(folder / f"{i:04}.png")


def test_one_corrupt_picture_in_a_thousand_is_listed_and_the_rest_prepared(tmp_path: Path) -> None:
    """A table of the classes with their counts, and where the list is."""
    write_pictures(tmp_path / "p" / "n01443537", 600)
    write_pictures(tmp_path / "p" / "n02099601", 400)
    corrupt = tmp_path / "p" / "n02099601" / "0123.png"
    corrupt.write_bytes(corrupt.read_bytes()[:40])
    result = run("prepare", tmp_path / "p", tmp_path / "out", "--size", 32)
    assert result.exit_code == 0, result.output
    assert "goldfish" in result.output
    assert "golden_retriever" in result.output
    assert "left out 1 that could not be read" in result.output
    assert "999 pictures at 32 px in 2 classes, 399 to 600 each" in result.output
    assert "0123.png: " in (tmp_path / "out" / "unreadable.txt").read_text()
    assert f"sagan train RUN --data {tmp_path / 'out'} --size 32" in result.output


def test_what_is_suspicious_is_said_loudly(tmp_path: Path) -> None:
    """A flat folder, a folder without pictures, and one beside the classes."""
    write_pictures(tmp_path / "flat", 12)
    result = run("prepare", tmp_path / "flat", tmp_path / "one", "--size", 32)
    assert "suspicious: all 12 pictures are of one class, flat" in result.output
    write_pictures(tmp_path / "p" / "many", 150)
    write_pictures(tmp_path / "p" / "few", 12)
    (tmp_path / "p" / "none").mkdir()
    result = run("prepare", tmp_path / "p", tmp_path / "two", "--size", 32)
    assert "note: 1 folder without pictures, no class: none" in result.output
    assert "suspicious: heavily unbalanced: many has 150 pictures, few 12" in result.output


def test_a_class_may_be_called_anything(tmp_path: Path) -> None:
    """Brackets are no markup: neither swallowed nor styled."""
    write_pictures(tmp_path / "[p]" / "[red]ball", 12)
    write_pictures(tmp_path / "[p]" / "[bold]", 12)
    result = run("prepare", tmp_path / "[p]", tmp_path / "[out]", "--size", 32)
    assert result.exit_code == 0, result.output
    assert "[red]ball" in result.output
    assert "[bold]" in result.output


def test_a_class_that_lost_all_its_pictures_is_said_loudly(tmp_path: Path) -> None:
    """It is no class of the prepared folder."""
    write_pictures(tmp_path / "p" / "ship", 12)
    write_pictures(tmp_path / "p" / "truck", 1)
    (tmp_path / "p" / "truck" / "0000.png").write_bytes(b"")
    result = run("prepare", tmp_path / "p", tmp_path / "out", "--size", 32)
    assert "no pictures, no classes: truck" in result.output


def test_a_missing_source_is_one_line(tmp_path: Path) -> None:
    """And an exit code."""
    result = run("prepare", tmp_path / "nowhere", tmp_path / "out", "--size", 32)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {tmp_path / 'nowhere'}: no such folder")
    assert result.output.count("\n") == 1


def test_the_presets_are_listed() -> None:
    """Bases, variants and names."""
    output = run("presets").output
    for name in ("laptop-64", "sagan-128", "sn-d-only", "residual32", "acgan-128"):
        assert name in output

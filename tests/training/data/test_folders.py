"""Folders of pictures as a source, and the ways in which people misplace them."""

import os
from pathlib import Path

import pytest
from PIL import Image

from training.data.folders import folder_source
from training.data.image_set import DataError


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def test_each_folder_is_a_class_and_its_pictures_may_lie_deeper(tmp_path: Path) -> None:
    """Labels follow the folders' names; hidden files do not count, others are told of."""
    for name in ("ship/1.png", "ship/deep/2.PNG", "tabby/1.jpg"):
        picture(tmp_path / name)
    for name in (".ipynb_checkpoints/1.png", "ship/.cache/1.png", "ship/._1.png"):
        picture(tmp_path / name)
    (tmp_path / "ship" / "notes.txt").write_text("no picture")
    source = folder_source(tmp_path)
    assert [c.name for c in source.classes] == ["ship", "tabby"]
    assert source.labels.tolist() == [0, 0, 1]
    names = [Path(source.picture(i).name).relative_to(tmp_path).as_posix() for i in range(3)]
    assert names == ["ship/1.png", "ship/deep/2.PNG", "tabby/1.jpg"]
    assert source.remarks == ("1 file of other kinds passed over: 1 .txt",)


def test_folders_named_by_wordnet_ids_get_imagenets_names(tmp_path: Path) -> None:
    """As ImageNet's train folder is laid out."""
    picture(tmp_path / "n01443537" / "n01443537_1.JPEG")
    picture(tmp_path / "n02099601" / "n02099601_1.JPEG")
    goldfish, retriever = folder_source(tmp_path).classes
    assert (goldfish.name, goldfish.wnid) == ("goldfish", "n01443537")
    assert (retriever.name, retriever.wnid) == ("golden_retriever", "n02099601")
    assert "retriever" in " ".join(retriever.aliases)


def test_a_flat_folder_is_one_class_of_its_own_name(tmp_path: Path) -> None:
    """For a network without classes."""
    picture(tmp_path / "faces" / "1.png")
    picture(tmp_path / "faces" / "2.png")
    source = folder_source(tmp_path / "faces")
    assert [c.name for c in source.classes] == ["faces"]
    assert source.labels.tolist() == [0, 0]


@pytest.mark.parametrize("parts", [("train", "val"), ("train", "test", "extra"), ("Train",)])
def test_the_folder_above_the_classes_is_refused(parts: tuple[str, ...], tmp_path: Path) -> None:
    """ImageNet's `train` and `val` as classes: the mistake behind many a collapse."""
    for part in parts:
        picture(tmp_path / part / "n01443537" / "1.png")
        picture(tmp_path / part / "n02099601" / "1.png")
    with pytest.raises(DataError, match=rf"did you mean {tmp_path}/[Tt]rain\?"):
        folder_source(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    """Where its pictures lie right in it, beside other classes."""
    for name in ("train", "ship", "truck"):
        picture(tmp_path / name / "1.png")
    assert [c.name for c in folder_source(tmp_path).classes] == ["ship", "train", "truck"]


def test_empty_folders_and_loose_pictures_are_remarked_on(tmp_path: Path) -> None:
    """They are left out, and it is said."""
    picture(tmp_path / "ship" / "1.png")
    picture(tmp_path / "stray.png")
    (tmp_path / "truck").mkdir()
    source = folder_source(tmp_path)
    assert [c.name for c in source.classes] == ["ship"]
    assert source.remarks == (
        "1 folder without pictures, no class: truck",
        "1 picture beside the class folders left out",
    )


def test_a_folder_without_pictures_says_what_is_expected(tmp_path: Path) -> None:
    """With the layout and the formats."""
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"no pictures; expected .*CLASS/\*\.jpg"):
        folder_source(tmp_path)


def test_the_digest_tells_other_pictures_apart(tmp_path: Path) -> None:
    """Same names, another size in bytes, or written anew in the same size."""
    file = picture(tmp_path / "ship" / "1.png")
    before = folder_source(tmp_path).digest
    assert folder_source(tmp_path).digest == before
    file.write_bytes(file.read_bytes() + b"more")
    assert folder_source(tmp_path).digest != before
    longer = folder_source(tmp_path).digest
    file.write_bytes(file.read_bytes()[:-4] + b"MORE")
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))  # where the clock is coarse
    assert folder_source(tmp_path).digest != longer

"""Folders of pictures as a source, and the ways in which people misplace them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unicodedata import normalize

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


def test_what_cannot_be_read_is_left_out_with_its_reason(tmp_path: Path) -> None:
    """Dangling and self-pointing links, FIFOs; none of them stops the rest, or hangs."""
    picture(tmp_path / "ship" / "1.png")
    (tmp_path / "ship" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "ship" / "self.png").symlink_to("self.png")
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "ship" / "2.png")
    source = folder_source(tmp_path)
    assert len(source) == 1
    assert {one.path.name: one.reason for one in source.left_out} == {
        "gone": "a link that leads nowhere: No such file or directory",
        "gone.png": "a link that leads nowhere: No such file or directory",
        "self.png": "a link that leads nowhere: Too many levels of symbolic links",
        "2.png": "not a regular file",
    }


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    """Cycles end, and no picture counts twice; real folders keep their pictures."""
    root = tmp_path / "set"
    picture(root / "ship" / "1.png")
    picture(tmp_path / "elsewhere" / "cats" / "1.png")
    picture(tmp_path / "elsewhere" / "more" / "2.png")
    (root / "all").symlink_to(".")
    (root / "boat").symlink_to("ship")
    (root / "cat").symlink_to(tmp_path / "elsewhere" / "cats")
    (root / "kitten").symlink_to(tmp_path / "elsewhere" / "cats")
    (root / "ship" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    (root / "ship" / "up").symlink_to("..")
    source = folder_source(root)
    names = [Path(source.picture(i).name).relative_to(root).as_posix() for i in range(len(source))]
    assert names == ["cat/1.png", "ship/1.png", "ship/more/2.png"]
    assert [c.name for c in source.classes] == ["cat", "ship"]
    left_out = {one.path.relative_to(root).as_posix() for one in source.left_out}
    assert left_out == {"all", "boat", "kitten", "ship/up"}


def test_a_folder_without_permission_is_left_out_and_said(tmp_path: Path) -> None:
    """Where the tests run as root, which may read everything, a child that is not root looks."""
    for name in ("ship/1.png", "cat/1.png", "cat/locked/2.png"):
        picture(tmp_path / name)
    (tmp_path / "cat" / "locked").chmod(0)
    program = (
        "import os, sys; from pathlib import Path;"
        "from training.data.folders import folder_source;"
        "os.getuid() or os.setuid(65534);"
        "found = folder_source(Path(sys.argv[1]));"
        "print(len(found), *(f'{one.path.name}: {one.reason}' for one in found.left_out))"
    )
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    (tmp_path / "cat" / "locked").chmod(0o755)
    assert run.stdout == "2 locked: folder cannot be read: Permission denied\n"


def test_names_that_are_not_utf8_get_readable_classes(tmp_path: Path) -> None:
    """Bytes of Latin-1 or Shift-JIS; the pictures keep their paths."""
    for name in (b"caf\xe9/1.png", b"\x8c\xa2/2.png", b"ship/caf\xe9.png"):
        picture(tmp_path / os.fsdecode(name))
    source = folder_source(tmp_path)
    assert [c.name for c in source.classes] == ["caf\\xe9", "ship", "\\x8c\\xa2"]
    assert "2 folders whose name is not UTF-8, as classes: " in source.remarks[0]
    assert [source.picture(i).read(8).shape for i in range(3)] == [(8, 8, 3)] * 3


def test_names_are_composed_and_two_spellings_are_one_class(tmp_path: Path) -> None:
    """A Mac writes `Café` decomposed."""
    picture(tmp_path / normalize("NFD", "Café") / "1.png")
    picture(tmp_path / "ship" / "1.png")
    assert [c.name for c in folder_source(tmp_path).classes] == ["Café", "ship"]
    picture(tmp_path / "Café" / "2.png")
    source = folder_source(tmp_path)
    assert ([c.name for c in source.classes], source.labels.tolist()) == (
        ["Café", "ship"],
        [0, 0, 1],
    )
    assert source.remarks == ("two folders each, composed and decomposed, are one class: Café",)


def test_names_that_only_case_tells_apart_are_remarked_on(tmp_path: Path) -> None:
    """They stay two classes."""
    for name in ("Food", "food", "ship"):
        picture(tmp_path / name / "1.png")
    source = folder_source(tmp_path)
    assert [c.name for c in source.classes] == ["Food", "food", "ship"]
    assert source.remarks == (
        "different classes, though only case tells them apart: Food and food",
    )


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        (("training_set", "test_set"), "training_set"),
        (("seg_pred", "seg_test", "seg_train"), "seg_train"),
        (("train_images", "val_images"), "train_images"),
        (("Validation-Data", "Data for training"), "Data for training"),
        (("fold1", "fold2", "fold3"), "fold1"),
    ],
)
def test_parts_of_a_data_set_are_refused_by_name_or_by_equal_subfolders(
    parts: tuple[str, ...], wanted: str, tmp_path: Path
) -> None:
    """And the error says how to take their classes together."""
    for part in parts:
        for name in ("cat", "dog"):
            picture(tmp_path / part / name / "1.png")
    with pytest.raises(DataError, match=f"did you mean {tmp_path}/{wanted}\\?.*--class-level 2"):
        folder_source(tmp_path)
    together = folder_source(tmp_path, class_level=2)
    assert [c.name for c in together.classes] == ["cat", "dog"]
    assert together.labels.tolist() == [0] * len(parts) + [1] * len(parts)
    as_they_are = folder_source(tmp_path, class_level=1)
    assert [c.name for c in as_they_are.classes] == sorted(parts)


def test_classes_with_folders_of_their_own_are_no_parts(tmp_path: Path) -> None:
    """Breeds of dogs and cats: the subfolders differ."""
    for name in ("cat/siamese", "cat/tabby", "dog/husky", "dog/pug", "bird/tit"):
        picture(tmp_path / name / "1.png")
    assert [c.name for c in folder_source(tmp_path).classes] == ["bird", "cat", "dog"]


def test_folders_that_systems_make_are_no_classes(tmp_path: Path) -> None:
    """Thumbnails of a disk station, a recycle bin, a Mac's archive."""
    for name in ("ship", "cat", "@eaDir", "$RECYCLE.BIN", "__MACOSX", "ship/@eaDir"):
        picture(tmp_path / name / "1.png")
    source = folder_source(tmp_path)
    assert ([c.name for c in source.classes], len(source)) == (["cat", "ship"], 2)


def shards(root: Path) -> list[str]:
    names = [f"0000{shard}/img{shard}{i}.png" for shard in range(2) for i in range(2)]
    for name in names:
        picture(root / name)
    return names


def test_the_labels_of_stylegans_tool_are_read(tmp_path: Path) -> None:
    """Shards are no classes there; a picture without a label is left out."""
    first, second, third, fourth = shards(tmp_path)
    labels = [[first, 6], [second, 0], [third, 6], ["00000/gone.png", 0]]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    source = folder_source(tmp_path)
    assert [c.name for c in source.classes] == ["class_0", "class_6"]
    names = [Path(source.picture(i).name).relative_to(tmp_path).as_posix() for i in range(3)]
    assert (names, source.labels.tolist()) == ([second, first, third], [0, 1, 1])
    assert [one.path for one in source.left_out] == [tmp_path / fourth]
    (tmp_path / "dataset.json").write_text('{"labels": null}')
    assert [c.name for c in folder_source(tmp_path).classes] == [tmp_path.name]
    for text in ('{"labels": [["a.png", [0.5]]]}', "[1]", '{"labels": 3}', "{"):
        (tmp_path / "dataset.json").write_text(text)
        with pytest.raises(DataError, match=r"dataset\.json"):
            folder_source(tmp_path)


def test_shards_with_captions_are_one_class_and_numbered_folders_without_are_classes(
    tmp_path: Path,
) -> None:
    """Img2dataset's layout beside that of traffic signs, which are numbered, too."""
    names = shards(tmp_path)
    source = folder_source(tmp_path)
    assert [c.name for c in source.classes] == ["00000", "00001"]
    assert "if they are shards of one set" in source.remarks[-1]
    for name in names:
        (tmp_path / name).with_suffix(".txt").write_text("a caption")
    source = folder_source(tmp_path)
    assert ([c.name for c in source.classes], len(source)) == ([tmp_path.name], 4)
    assert "00000, 00001 are shards with captions, not classes" in source.remarks[-1]


def test_a_folder_of_parquet_is_told_of_hugging_face(tmp_path: Path) -> None:
    """As `huggingface-cli download` leaves it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=f"give it as hf:{tmp_path}"):
        folder_source(tmp_path)


def test_a_picture_above_the_class_folders_is_left_out(tmp_path: Path) -> None:
    """With --class-level 2 it would be of a class called like a part of the data set."""
    for name in ("train/cat/1.png", "train/2.png", "test/cat/3.png"):
        picture(tmp_path / name)
    source = folder_source(tmp_path, class_level=2)
    assert ([c.name for c in source.classes], len(source)) == (["cat"], 2)
    assert [(one.path.name, one.reason) for one in source.left_out] == [
        ("2.png", "in no folder of a class")
    ]
    with pytest.raises(DataError, match="no pictures in folders of folders"):
        folder_source(tmp_path / "train", class_level=2)

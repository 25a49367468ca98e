"""ImageNet's classes, and files of class names."""

import json
from pathlib import Path

import pytest

from model.importers.classes import imagenet_classes, read_classes
from model.importers.naming import ImportRefusedError


def test_imagenets_classes_stand_in_the_order_of_their_wordnet_ids() -> None:
    """Label 207 is the golden retriever in every public checkpoint."""
    classes = imagenet_classes()
    wnids = [c.wnid or "" for c in classes]
    assert len(classes) == len(set(wnids)) == 1000
    assert wnids == sorted(wnids)
    assert (classes[207].name, classes[207].wnid) == ("golden_retriever", "n02099601")


def test_each_name_means_one_class() -> None:
    """Lower case with underscores; no other class has it as an alias, but for the two cranes."""
    classes = imagenet_classes()
    names = [c.name for c in classes]
    assert len(set(names)) == 1000
    assert all(name.replace("_", "").isalpha() and name.islower() for name in names)
    for info in classes:
        spellings = {alias.casefold().replace(" ", "_") for alias in info.aliases}
        assert not (spellings & set(names)) - {info.name}


@pytest.mark.parametrize(
    "name",
    ["goldfish", "flamingo", "golden_retriever", "tabby", "monarch", "zebra", "african_elephant",
     "airliner", "castle", "school_bus"],
)  # fmt: skip
def test_the_picturebooks_classes_have_their_names(name: str) -> None:
    """So that a request means the same with either checkpoint."""
    assert name in {c.name for c in imagenet_classes()}


@pytest.mark.parametrize(
    "text",
    [
        "cat\nbig dog\n\n",
        json.dumps(["cat", "big dog"]),
        json.dumps([{"name": "cat", "wnid": "n02121808"}, {"name": "big dog", "aliases": ["d"]}]),
    ],
)
def test_class_names_are_read_from_text_or_json(text: str, tmp_path: Path) -> None:
    """In the order of their labels."""
    (tmp_path / "classes").write_text(text)
    assert [c.name for c in read_classes(tmp_path / "classes")] == ["cat", "big dog"]


@pytest.mark.parametrize("text", ["[1, 2]", "[", '[{"wnid": "n1"}]'])
def test_an_unreadable_class_file_is_one_line(text: str, tmp_path: Path) -> None:
    """That names the file."""
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(ImportRefusedError, match=r"classes\.json") as caught:
        read_classes(tmp_path / "classes.json")
    assert "\n" not in str(caught.value)

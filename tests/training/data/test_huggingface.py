"""Hugging Face data sets, as `save_to_disk` leaves them and by name."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from training.data.huggingface import huggingface_source, is_huggingface
from training.data.image_set import DataError
from training.data.prepared import open_prepared
from training.data.preparing import prepare

NAMED = datasets.ClassLabel(names=["tench, Tinca tinca", "great white shark", "never seen"])


def rows(labels: list[Any] | None = None, kind: object = NAMED, column: str = "label") -> Any:
    """A picture for each label, or four; the i-th of brightness 40·i."""
    count = 4 if labels is None else len(labels)
    content: dict[str, Any] = {
        "picture": [Image.new("RGB", (8, 8), (40 * i,) * 3) for i in range(count)]
    }
    features = {"picture": datasets.Image()}
    if labels is not None:
        content[column], features[column] = labels, kind
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


def saved(data: Any, folder: Path) -> str:
    data.save_to_disk(str(folder))
    return str(folder)


def test_a_saved_data_set_is_prepared_with_its_classes(tmp_path: Path) -> None:
    """The `train` part; ImageNet's lists of synonyms become a name and aliases."""
    parts = datasets.DatasetDict({"train": rows([0, 1, 1, 0]), "test": rows([0, 0, 0, 0])})
    source = saved(parts, tmp_path / "saved")
    assert is_huggingface(source)
    prepare(huggingface_source(source), tmp_path / "out", 32)
    data = open_prepared(tmp_path / "out", 32)
    assert data.labels.tolist() == [0, 1, 1, 0]
    assert data.images[:, 16, 16, 1].tolist() == [0, 40, 80, 120]
    tench, shark = data.classes
    assert (tench.name, tench.aliases) == ("tench", ("Tinca tinca", "tench, Tinca tinca"))
    assert (shark.name, shark.aliases) == ("great_white_shark", ("great white shark",))


@pytest.mark.parametrize(
    ("labels", "kind", "names", "expected"),
    [
        (
            ["cat", "ant", "cat", "bee"],
            datasets.Value("string"),
            ["ant", "bee", "cat"],
            [2, 0, 2, 1],
        ),
        ([7, 5, 7, 5], datasets.Value("int64"), ["5", "7"], [1, 0, 1, 0]),
    ],
)
def test_plain_labels_are_numbered_in_their_order(
    labels: list[Any], kind: object, names: list[str], expected: list[int], tmp_path: Path
) -> None:
    """Words or numbers in a column called label."""
    source = huggingface_source(saved(rows(labels, kind), tmp_path / "saved"))
    assert [c.name for c in source.classes] == names
    assert source.labels.tolist() == expected


def test_without_labels_all_pictures_are_of_one_class(tmp_path: Path) -> None:
    """Which `sagan prepare` then says loudly."""
    source = huggingface_source(saved(rows(), tmp_path / "saved"))
    assert len(source.classes) == 1
    assert source.labels.tolist() == [0, 0, 0, 0]


def test_a_name_is_loaded_as_the_library_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hf:NAME, here a folder of Parquet, which `load_dataset` takes like a name."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "parquet").mkdir()
    rows([0, 1, 1, 0]).to_parquet(str(tmp_path / "parquet" / "train.parquet"))
    source = huggingface_source(f"hf:{tmp_path / 'parquet'}")
    assert source.labels.tolist() == [0, 1, 1, 0]
    assert np.array_equal(source.picture(2).read(8)[0, 0], [80, 80, 80])


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: rows([-1, -1, None, -1]), "label has no label in any row"),
        (
            lambda: rows([0.5, 1.0, 2.0, 1.0], datasets.Value("float64")),
            "label holds 0.5, no class",
        ),
        (
            lambda: rows([[0, 1], [1], [0], [0]], datasets.Sequence(datasets.Value("int64"))),
            "label holds several values a row",
        ),
        (lambda: rows([0, 1, 1, 0]).filter(lambda row: row["label"] > 1), "an empty data set"),
        (lambda: datasets.Dataset.from_dict({"text": ["a"]}), "no column of pictures, only text"),
        (
            lambda: datasets.DatasetDict({"a": rows([0] * 4), "b": rows([0] * 4)}),
            "no part called train, only a, b",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_one_clear_line(
    make: Any, complaint: str, tmp_path: Path
) -> None:
    """It names the column or the part."""
    with pytest.raises(DataError, match=complaint):
        huggingface_source(saved(make(), tmp_path / "saved"))


def test_a_name_that_does_not_load_is_one_clear_line(tmp_path: Path) -> None:
    """With the library's first line."""
    with pytest.raises(DataError, match=r"^hf:.*nowhere: ") as caught:
        huggingface_source(f"hf:{tmp_path / 'nowhere'}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "kind", "names", "expected", "kept"),
    [
        ([0, -1, 1, 0], NAMED, ["tench", "great_white_shark", "never_seen"], [0, 1, 0], [0, 2, 3]),
        ([0, None, 1, None], NAMED, ["tench", "great_white_shark", "never_seen"], [0, 1], [0, 2]),
        (["b", None, "a", ""], datasets.Value("string"), ["a", "b"], [1, 0], [0, 2]),
        ([7, None, 5, 7], datasets.Value("int64"), ["5", "7"], [1, 0, 1], [0, 2, 3]),
        (
            [7.0, float("nan"), 5.0, 7.0],
            datasets.Value("float32"),
            ["5", "7"],
            [1, 0, 1],
            [0, 2, 3],
        ),
    ],
)
def test_rows_without_a_label_are_left_out_and_counted(
    labels: list[Any],
    kind: object,
    names: list[str],
    expected: list[int],
    kept: list[int],
    tmp_path: Path,
) -> None:
    """Null, NaN, -1 and empty text; the pictures stay with their labels."""
    source = huggingface_source(saved(rows(labels, kind), tmp_path / "saved"))
    assert [c.name for c in source.classes] == names
    assert source.labels.tolist() == expected
    brightness = [int(source.picture(i).read(8)[0, 0, 0]) for i in range(len(source))]
    assert brightness == [40 * row for row in kept]
    assert source.remarks == (
        f"{len(labels) - len(kept)} rows without a label left out (label is null or -1)",
    )


def test_classes_of_one_first_name_get_names_of_their_own(tmp_path: Path) -> None:
    """As ImageNet's "maillot" and "maillot, tank suit"; what is given in full stays an alias."""
    twice = datasets.ClassLabel(names=["maillot", "maillot, tank suit", "crane ", "crane"])
    source = huggingface_source(saved(rows([0, 1, 2, 3], twice), tmp_path / "saved"))
    assert [c.name for c in source.classes] == ["maillot", "maillot_tank_suit", "crane_", "crane"]
    assert "maillot, tank suit" in source.classes[1].aliases

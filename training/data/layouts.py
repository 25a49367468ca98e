"""Recognizes folders that are not the classes of a data set: parts, shards, other formats."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.data.class_naming import readable
from training.data.image_set import DataError

SPLITS = frozenset(
    {"dev", "eval", "pred", "test", "testing", "train", "training", "val", "valid", "validation"}
)
SHARD = re.compile(r"\d{5,}")  # as StyleGAN's and img2dataset's tools number their folders
SIDECARS = (".json", ".txt")  # img2dataset's, one for each picture
STYLEGAN_FILE = "dataset.json"
MAX_LISTED = 5  # names in a message

Folders = Mapping[Path, Sequence[Path]]  # the pictures under each folder


def refuse_parts(root: Path, folders: Folders) -> None:
    """Raises DataError if the folders are the parts of a data set, each with all classes.

    They are parts if their names say so (`train`, `test_set`, `seg_train`), or if they have no
    pictures of their own and all have the same subfolders. A class of vehicles can be called
    `train` too: it has pictures of its own, and there are other classes.
    """
    parts = [folder for folder in folders if _is_split(folder.name)]
    nested = {folder for folder, files in folders.items() if not _own(folder, files)}
    called_so = parts and (nested.issuperset(parts) or len(parts) == len(folders))
    if not called_so and not _are_alike(folders, nested):
        return
    wanted = min(parts or folders, key=lambda folder: (not _is_training(folder.name), folder.name))
    raise DataError(
        f"{readable(str(root))}: its folders {listed([f.name for f in folders])} look like the "
        f"parts of a data set, not like classes; did you mean {readable(str(wanted))}? With "
        "--class-level 2 `sagan prepare` takes the classes of all parts together, with "
        "--class-level 1 it takes the folders for classes as they are"
    )


def are_captioned_shards(folders: Folders) -> bool:
    """Whether the folders are shards of img2dataset: numbered, with a caption for each picture."""
    if not folders or not all(SHARD.fullmatch(folder.name) for folder in folders):
        return False
    first = next(files[0] for files in folders.values() if files)
    return any(first.with_suffix(suffix).is_file() for suffix in SIDECARS)


def stylegan_labels(root: Path) -> Mapping[str, int] | None:
    """The labels in StyleGAN's `dataset.json`, by the picture's path in `root`; None without one.

    The mapping is empty if the file says that the pictures have no labels. Raises DataError if it
    cannot be read, and if labels are vectors.
    """
    file = root / STYLEGAN_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_bytes())
        pairs = content["labels"] or []
        labels = {str(name): label for name, label in pairs}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{readable(str(file))}: not StyleGAN's list of labels ({type(error).__name__}); "
            "repair or remove it"
        ) from error
    for name, label in labels.items():
        if type(label) is not int or label < 0:
            raise DataError(
                f"{readable(str(file))}: the label of {name:.80} is no class: {label!r:.40}"
            )
    return labels


def refuse_other_formats(root: Path) -> None:
    """Raises DataError if a folder without pictures has a data set in another format."""
    if any(root.glob("*.parquet")) or any(root.glob("*/*.parquet")):
        raise DataError(
            f"{readable(str(root))}: Parquet files of a Hugging Face data set: give it as hf:{root}"
        )
    if any(root.glob("*.tar")):
        raise DataError(
            f"{readable(str(root))}: no pictures, but tar archives: unpack them, a folder a class"
        )


def listed(names: Sequence[str]) -> str:
    """The first names, for a message."""
    return ", ".join(map(readable, names[:MAX_LISTED])) + (", …" if len(names) > MAX_LISTED else "")


def _is_split(name: str) -> bool:
    return any(word in SPLITS for word in re.split(r"[\W_]+", name.lower()))


def _is_training(name: str) -> bool:
    return any(word.startswith("train") for word in re.split(r"[\W_]+", name.lower()))


def _own(folder: Path, files: Sequence[Path]) -> bool:
    """Whether pictures lie right in the folder."""
    return any(file.parent == folder for file in files)


def _are_alike(folders: Folders, nested: set[Path]) -> bool:
    """Whether there are several folders, and most of their subfolders have the same names."""
    if len(folders) < 2 or len(nested) < len(folders):
        return False
    names = [{file.relative_to(f).parts[0] for file in files} for f, files in folders.items()]
    shared, every = set.intersection(*names), set.union(*names)
    return len(shared) > 1 and 2 * len(shared) >= len(every)

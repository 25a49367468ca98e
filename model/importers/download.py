"""Downloads a foreign checkpoint: resumes interrupted downloads, and checks the whole file."""

import hashlib
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from model.importers.naming import ImportRefusedError

IMAGENET_URL = (
    "https://download.openmmlab.com/mmgen/sagan/"
    "sagan_128_woReLUinplace_noaug_bigGAN_imagenet1k_b32x8_Glr1e-4_Dlr-4e-4_ndisc1"
    "_20210818_210232-3f5686af.pth"
)
TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 18
Report = Callable[[int, int | None], None]  # bytes there, bytes in all where known


class DownloadError(ImportRefusedError):
    """A file could not be downloaded, or its sha256 is not the promised one."""


def download(
    url: str,
    folder: Path,
    report: Report = lambda _done, _total: None,
    promised: str | None = None,
) -> Path:
    """Downloads `url` into `folder`, unless the file is there already, and returns its path.

    After an interruption it connects again (RFC 9110, section 14), until a connection brings no
    bytes; the next call then resumes from the part that is there. `promised` is the beginning of
    the file's sha256; by default it is taken from the end of the file's name, if there is one.
    Raises DownloadError.
    """
    name = file_name(url)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https") or not name:
        raise DownloadError(f"{url}: not the http(s) address of a file")
    promised = promised or promised_sha256(name)
    file, partial = folder / name, folder / f"{name}.part"
    if promised and file.exists() and sha256(file).startswith(promised):
        return file
    folder.mkdir(parents=True, exist_ok=True)
    if not promised:  # nothing would tell that a kept part is of another file
        partial.unlink(missing_ok=True)
    _fetch_all(url, partial, report)
    if promised and not (found := sha256(partial)).startswith(promised):
        partial.unlink()
        raise DownloadError(
            f"{url}: the sha256 begins {found[:8]}, not {promised[:8]} as promised: try again"
        )
    return partial.replace(file)


def file_name(url: str) -> str:
    """The name of the file at an address: without the query, and with %XX decoded."""
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name


def promised_sha256(name: str) -> str | None:
    """The beginning of the sha256 at the end of a file's name, as PyTorch's hub writes it, or None.

    Eight decimal digits are ignored, since they are more often a date.
    """
    match = re.search(r"-(?=\d*[a-f])([0-9a-f]{8})\.\w+$", name)
    return match[1] if match else None


def sha256(file: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _fetch_all(url: str, partial: Path, report: Report) -> None:
    """Fetches until the file is whole, or until a connection brings nothing new."""
    while True:
        before = _size(partial)
        reason = "the connection was cut"
        try:
            if _fetch_rest(url, partial, report):
                return
        except urllib.error.HTTPError as error:
            with error:
                if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                    return  # all of it was there
                raise DownloadError(f"{url}: {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        if _size(partial) <= before:
            raise DownloadError(
                f"{url}: {reason}; the {_size(partial)} bytes received are kept, and the same "
                "command resumes from there"
            )


def _fetch_rest(url: str, partial: Path, report: Report) -> bool:
    """Appends what one connection brings; whether the file is whole now."""
    start = _size(partial)
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http(s), checked
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        if resumed and not response.headers["Content-Range"].startswith(f"bytes {start}-"):
            raise DownloadError(f"{url}: the server sent another range than requested")
        start = start if resumed else 0
        length = response.headers["Content-Length"]
        total = None if length is None else start + int(length)
        with partial.open("ab" if resumed else "wb") as sink:
            while chunk := response.read(CHUNK_BYTES):
                sink.write(chunk)
                report(sink.tell(), total)
    return total is None or _size(partial) == total


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0

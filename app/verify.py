"""`sagan verify`: asks a server whether files are the images that they say they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import click

from app.server_options import key_option, url_option

TIMEOUT_S = 60.0
MAX_FILE_BYTES = 2**20  # what POST /verify takes
FILE_REFUSED = (413, 415, 422)  # statuses that say something of the file, not of the server
STATUSES = {"same": 0, "altered": 1, "unknown": 2}
NO_ANSWER = 3  # the exit status if the server cannot say anything of a file
Document = dict[str, Any]


class NoAnswerError(click.ClickException):
    """The server could not be asked, or refused for a reason that is not the file's."""

    exit_code = NO_ANSWER


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@click.option("--image", help="Image id; of files that have no mark.")
@url_option
@key_option
@click.option("--json", "as_json", is_flag=True, help="Print the server's JSON, a line for each.")
def verify(
    files: tuple[Path, ...], image: str | None, url: str, api_key: str | None, as_json: bool
) -> None:
    """Compare each FILE with the image that its mark names, which the server draws again.

    \b
    The exit status is 0 if all files are the same, 1 if one is altered, 2 if the server
    cannot tell for one, and 3 if the server does not answer.
    """
    status = 0
    for file in files:
        found = verified(file, url, image=image, api_key=api_key)
        line = json.dumps({"file": str(file), **found}) if as_json else f"{file}: {told(found)}"
        click.echo(line)
        status = max(status, STATUSES[found["result"]])
    raise SystemExit(status)


def told(found: Mapping[str, Any]) -> str:
    """The result in a line."""
    words = [found["result"]]
    if "class" in found:
        image = f"{found['class']}, seed {found['seed']}, model {found['model']}"
        unusual = [name for name in ("truncation", "attention_scale") if name in found]
        extra = "".join(f", {name.replace('_', ' ')} {found[name]:g}" for name in unusual)
        words.append(image + extra)
    if found.get("reason"):
        words.append(found["reason"])
    if found.get("share_differing"):
        words.append(f"{found['mean_difference']:g} levels on average")
    if found["result"] == "same":
        words.append(f"the same {found['compared']}")
    return ": ".join([words[0], "; ".join(words[1:])])


def verified(file: Path, url: str, *, image: str | None, api_key: str | None) -> Document:
    """What the server says of a file, or `unknown` for a file that cannot be read or sent.

    Raises NoAnswerError.
    """
    try:
        with file.open("rb") as opened:
            body = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return {"result": "unknown", "reason": f"the file cannot be read: {error.strerror}"}
    if len(body) > MAX_FILE_BYTES:
        return {"result": "unknown", "reason": f"the file is over {MAX_FILE_BYTES} bytes"}
    status, answer = post(url, body, image=image, api_key=api_key)
    if status in FILE_REFUSED:
        return {"result": "unknown", "reason": answer.get("detail", f"status {status}")}
    if answer.get("result") not in STATUSES:
        detail = answer.get("detail", "the answer is none of this service's")
        raise NoAnswerError(f"{url} answers with status {status}: {detail}")
    return answer


def post(url: str, body: bytes, *, image: str | None, api_key: str | None) -> tuple[int, Document]:
    """The status and the JSON of POST /verify; raises NoAnswerError."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise NoAnswerError(f"--url {url!r} is no address: write http://HOST:PORT")
    connect = HTTPSConnection if address.scheme == "https" else HTTPConnection
    headers = {"Content-Type": "application/octet-stream"}
    if api_key is not None:
        headers["Authorization"] = f"Bearer {api_key}"
    path = f"{address.path.rstrip('/')}/verify" + (f"?image={quote(image)}" if image else "")
    try:
        with closing(connect(address.hostname, address.port, timeout=TIMEOUT_S)) as connection:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            found = json.loads(response.read())
    except (OSError, HTTPException, ValueError) as error:
        raise NoAnswerError(f"{url} does not answer: {error}") from error
    return response.status, found if isinstance(found, dict) else {}

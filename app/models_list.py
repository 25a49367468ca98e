"""`sagan models`: lists the models that a server serves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import click

from app.server_options import key_option, url_option

TIMEOUT_S = 30.0
MAX_BYTES = 64 * 2**20  # of a response that is read
NO_ANSWER = 3  # the exit status if the server cannot list its models, as of `sagan verify`
HEAD = ("NAME", "FINGERPRINT", "CLASSES", "PIXELS", "MIB", "WORKERS", "LOADED")
LEFT = 2  # columns of words; the others are numbers
Document = dict[str, Any]


class NoAnswerError(Exception):
    """The server could not be asked, or refused."""


@click.command()
@url_option
@key_option
@click.option("--json", "as_json", is_flag=True, help="Print the server's JSON.")
def models(url: str, api_key: str | None, as_json: bool) -> None:
    """List the models that a server serves; the default one is marked with a star.

    \b
    MIB is the size of the weights. WORKERS counts the workers that serve the model, and
    LOADED those of them that have it in memory; the others load it when it is asked for.
    The exit status is 3 if the server does not answer.
    """
    try:
        document = listed(url.rstrip("/"), api_key)
    except NoAnswerError as error:
        click.echo(f"sagan: {error}", err=True)
        raise SystemExit(NO_ANSWER) from None
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    for line in table(document):
        click.echo(line)


def listed(url: str, api_key: str | None) -> Document:
    """The JSON of GET /models; raises NoAnswerError."""
    if not url.startswith(("http://", "https://")):
        raise NoAnswerError(f"--url {url!r} is no address: write http://HOST:PORT")
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        with urlopen(Request(f"{url}/models", headers=headers), timeout=TIMEOUT_S) as response:  # noqa: S310
            document = json.loads(response.read(MAX_BYTES))
    except HTTPError as error:
        with error:  # it is the response too
            why = _refusal(error)
        raise NoAnswerError(f"{url}: {why}") from None
    except (URLError, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise NoAnswerError(
            f"{url} does not answer: {reason}; start it (`sagan serve`), or correct --url"
        ) from error
    if not isinstance(document, dict) or not isinstance(document.get("models"), list):
        raise NoAnswerError(f"{url} is another kind of server: its /models is not a list of models")
    return document


def table(document: Mapping[str, Any]) -> Iterable[str]:
    """The lines of the list, the columns below one another."""
    rows = [HEAD, *(_row(one, document.get("default")) for one in document["models"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    for row in rows:
        cells = [
            cell.ljust(width) if i < LEFT else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _row(one: Mapping[str, Any], default: object) -> tuple[str, ...]:
    """A line of the table; a server of an older version does not tell everything."""
    size_bytes, loaded = one.get("size_bytes"), one.get("workers_loaded")
    return (
        f"{one['name']}{'*' if one['name'] == default else ''}",
        str(one["fingerprint"])[:12],
        str(one["num_classes"]),
        str(one["resolution"]),
        "?" if size_bytes is None else f"{size_bytes / 2**20:.1f}",
        str(one["workers_ready"]),
        "?" if loaded is None else str(loaded),
    )


def _refusal(error: HTTPError) -> str:
    """What the server says of its refusal."""
    if error.code in (401, 403):
        return "it requires an API key that it knows: set SAGAN_API_KEY"
    try:
        return str(json.loads(error.read(MAX_BYTES))["detail"])
    except (ValueError, KeyError, TypeError):
        return f"/models answers {error.code}"

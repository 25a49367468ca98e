"""Looks at a running server: whether it lives, is ready, and which models it has."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from app.doctor.finding import Finding, fault, note, ok

SUBJECT = "server"
TIMEOUT_S = 5.0
MAX_BYTES = 2**20  # of a response that is read
CLOCKS_DIFFER_S = 5


class Answer(NamedTuple):
    """A response: status, JSON body (None if it is none) and the server's time."""

    status: int
    document: Any
    date: str | None


def look(url: str, api_key: str | None = None) -> Iterator[Finding]:
    """The server at `url`."""
    try:
        alive = _get(f"{url}/livez", api_key)
        ready = _get(f"{url}/readyz", api_key)
        models = _get(f"{url}/models", api_key)
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        mend = "start it (`sagan serve`), or correct the address"
        yield fault(SUBJECT, f"{url}: {reason}", mend)
        return
    if alive.status != 200:
        yield fault(SUBJECT, f"{url}/livez answers {alive.status}", "another program may be there")
        return
    yield ok(SUBJECT, f"{url} answers")
    yield from _of_clock(alive.date)
    yield _of_readiness(ready)
    yield _of_models(models)


def _of_clock(date: str | None) -> Iterator[Finding]:
    if date is None:
        return
    apart_s = abs(parsedate_to_datetime(date).timestamp() - time.time())
    if apart_s > CLOCKS_DIFFER_S:
        mend = "let both machines follow a time server; the service itself uses Redis's clock"
        yield note(SUBJECT, f"its clock and this one differ by {apart_s:.0f} s", mend)


def _of_readiness(ready: Answer) -> Finding:
    told = ready.document if isinstance(ready.document, dict) else {}
    if ready.status == 200:
        workers = told.get("workers_ready", {})
        return ok(SUBJECT, "ready: " + ", ".join(f"{m} × {n}" for m, n in workers.items()))
    detail = told.get("detail", f"/readyz answers {ready.status}")
    return fault(SUBJECT, f"not ready: {detail}", "see the log of its worker and of Redis")


def _of_models(models: Answer) -> Finding:
    if models.status in (401, 403):
        return note(SUBJECT, "it requires a key to list its models", "give one by --api-key")
    if models.status != 200 or not isinstance(models.document, dict):
        return fault(SUBJECT, f"/models answers {models.status}", "see the server's log")
    found = [
        f"{one['name']} ({one['resolution']} px, {one['fingerprint'][:12]})"
        for one in models.document["models"]
    ]
    return ok(SUBJECT, f"models: {', '.join(found)}")


def _get(url: str, api_key: str | None) -> Answer:
    if not url.startswith(("http://", "https://")):
        raise ValueError("an address begins with http:// or https://")
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT_S) as response:  # noqa: S310
            return _answer(response.status, response.read(MAX_BYTES), response.headers["date"])
    except HTTPError as error:
        return _answer(error.code, error.read(MAX_BYTES), error.headers["date"])


def _answer(status: int, body: bytes, date: str | None) -> Answer:
    try:
        return Answer(status, json.loads(body), date)
    except ValueError:
        return Answer(status, None, date)

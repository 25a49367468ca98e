"""Reads requests: fields, preferences, the address that links begin with, disconnects."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from difflib import get_close_matches
from functools import lru_cache
from typing import ClassVar, NoReturn, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from app.api.forms import FORM_TYPES, form_items
from app.errors import (
    InvalidValueError,
    NotAcceptableError,
    RequestTimeoutError,
    UnsupportedMediaTypeError,
)

SHOWN = 80  # characters of an invalid value that an error repeats
MAX_MESSAGES = 5
BODY_TIMEOUT_S = 10.0
_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"(?=\.?[0-9])([0-9]{0,4})(?:\.([0-9]{0,3})0*)?", re.ASCII)
MAX_ACCEPT_LENGTH = 1024  # several times what browsers send
# A client that names one of these is a browser: its list says what it can show, and not that a
# person prefers WebP to a file without losses. So it gets the first image format that it accepts.
BROWSERS_NAME = ("text/html", "image/avif", "image/svg+xml")
_RESPOND_ASYNC = re.compile(r"(?:^|,)\s*respond-async\s*(?=$|[,;])", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?("[^"]*")')
_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)
ORIGIN, PREFIX = "origin", "prefix"  # keys of a request's state, which Addresses sets
problem_prefix: ContextVar[str] = ContextVar("problem_prefix", default="")  # of this request
HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
T = TypeVar("T")


class RequestFields(BaseModel):
    """The fields that a request may have, by their names in the query or the body."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    repeatable: ClassVar[frozenset[str]] = frozenset()  # fields that may be given several times
    field_names: ClassVar[tuple[str, ...]] = ()
    passes_over_unknown: ClassVar[bool] = False  # instead of refusing fields that it does not know

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        cls.field_names = tuple(f.alias or name for name, f in cls.model_fields.items())

    def merged(self, body: Self) -> Self:
        """These fields and those of the body; raises InvalidValueError if they contradict."""
        for name in sorted(self.model_fields_set & body.model_fields_set):
            if getattr(self, name) != getattr(body, name):
                alias = type(self).model_fields[name].alias or name
                raise InvalidValueError(
                    f"{alias} has one value in the query and another in the body",
                    extra={"fields": [alias]},
                )
        given = {name: getattr(body, name) for name in body.model_fields_set}
        return self.model_copy(update=given)


F = TypeVar("F", bound=RequestFields)


def query_fields(request: Request, model: type[F]) -> F:
    """The fields in the query string; raises InvalidValueError."""
    return validated(model, query_values(request.query_params.multi_items(), model))


async def all_fields(request: Request, model: type[F]) -> F:
    """The fields in the query string and in the body, if there is one.

    Raises InvalidValueError, UnsupportedMediaTypeError, PayloadTooLargeError, RequestTimeoutError.
    """
    fields = query_fields(request, model)
    body = await whole_body(request) if has_body(request) else b""
    if not body:
        return fields
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", ""):
        raise UnsupportedMediaTypeError(
            f"a body must not be encoded as {coding[:SHOWN]!r}: send it without Content-Encoding",
            headers={"Accept-Encoding": "identity"},
        )
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json":
        return fields.merged(checked(model, read_object(body)))
    if media_type not in FORM_TYPES:
        raise UnsupportedMediaTypeError(
            f"a body must be application/json or a form, not {content_type[:SHOWN]!r}"
        )
    items = await form_items(content_type, body)
    return fields.merged(validated(model, query_values(items, model)))


def has_body(request: Request) -> bool:
    """Whether the request announces a body (RFC 9112, section 6.3)."""
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def whole_body(request: Request) -> bytes:
    """The body; raises PayloadTooLargeError, and RequestTimeoutError after BODY_TIMEOUT_S."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.body()
    except TimeoutError:
        raise RequestTimeoutError(f"the body was not complete after {BODY_TIMEOUT_S:g} s") from None


def query_values(
    items: Iterable[tuple[str, str]], model: type[RequestFields]
) -> dict[str, str | list[str]]:
    """The parameters by name; raises InvalidValueError for an unknown or repeated one."""
    values: dict[str, str | list[str]] = {}
    for name, value in items:
        if name in model.repeatable:
            former = values.setdefault(name, [])
            if isinstance(former, list):
                former.append(value)
            continue
        if name not in model.field_names:
            if model.passes_over_unknown:
                continue
            _refuse_unknown(name, model.field_names)
        if name in values:
            raise InvalidValueError(f"{name} is given more than once", extra={"fields": [name]})
        values[name] = value
    return values


def read_object(body: bytes) -> dict[str, object]:
    """The JSON object in a body; raises InvalidValueError for anything else."""
    try:
        found = json.loads(
            body.decode("utf-8-sig"),  # with or without a byte order mark
            object_pairs_hook=_object_without_repeats,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        raise InvalidValueError("the body is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(f"the body is not JSON: {str(error)[:SHOWN]}") from None
    if not isinstance(found, dict):
        raise InvalidValueError("the body is not a JSON object")
    return found


def checked(model: type[F], values: Mapping[str, object]) -> F:
    """The fields with these values; raises InvalidValueError that names up to MAX_MESSAGES.

    JSON's null is a field that is not given.
    """
    if not model.passes_over_unknown:
        for name in values:
            if name not in model.field_names:
                _refuse_unknown(name, model.field_names)
    return validated(model, {name: value for name, value in values.items() if value is not None})


def validated(model: type[F], values: Mapping[str, object]) -> F:
    """The fields with these values, whose names are known to be fields of `model`.

    Raises InvalidValueError that names up to MAX_MESSAGES of the invalid ones.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)[:MAX_MESSAGES]
        names = list(dict.fromkeys(str(problem["loc"][0]) for problem in errors))
        detail = "; ".join(map(_explained, errors))
        raise InvalidValueError(detail, extra={"fields": names}) from None


def whole_number(raw: object) -> int:
    """A whole number from JSON (7.0 is one too) or from a query string; raises ValueError."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, float) and raw.is_integer():
        return int(raw)
    if isinstance(raw, str) and _WHOLE.fullmatch(raw):
        return int(raw)
    raise ValueError("should be a whole number")


def yes_or_no(raw: object) -> bool:
    """A truth value from JSON, or `true` or `false` from a query string; raises ValueError."""
    if isinstance(raw, bool):
        return raw
    if raw in ("true", "false"):
        return raw == "true"
    raise ValueError("should be true or false")


def thousandths(raw: object, *, smallest: int, largest: int) -> int:
    """The number in thousandths: 0.25, or "0.25" from a query string, is 250.

    Raises ValueError for less than `smallest` or more than `largest` thousandths.
    """
    match = _DECIMAL.fullmatch(raw if isinstance(raw, str) else repr(raw))
    number = int(match[1] or 0) * 1000 + int((match[2] or "").ljust(3, "0")) if match else -1
    if not smallest <= number <= largest:
        raise ValueError(
            f"should be within {smallest / 1000:g} and {largest / 1000:g}, with at most three "
            "decimals"
        )
    return number


def text_or_index(raw: object) -> str:
    """The value as text; JSON may give an index as a number. Raises ValueError."""
    if isinstance(raw, str):
        return raw
    return str(whole_number(raw))


def _explained(problem: ErrorDetails) -> str:
    """`seed='x' is not valid: should be a whole number`."""
    name = problem["loc"][0]
    if problem["type"] == "missing":
        return f"{name} is missing"
    reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{name}={repr(problem['input'])[:SHOWN]} is not valid: {reason}"


def _refuse_unknown(name: str, known: Sequence[str]) -> NoReturn:
    close = get_close_matches(name, known, n=1) if len(name) <= SHOWN else []
    hint = (
        f"did you mean {close[0]}?" if close else f"the parameters are {', '.join(known) or 'none'}"
    )
    raise InvalidValueError(
        f"no parameter is called {name[:SHOWN]!r}; {hint}",
        extra={"fields": [name[:SHOWN]], "suggestions": close},
    )


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is given more than once")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def negotiated(headers: Headers, offers: tuple[str, ...]) -> str:
    """The offer that the request's Accept headers prefer.

    Raises NotAcceptableError.
    """
    return accepted_media_type(", ".join(headers.getlist("accept")), offers)


def accepted_media_type(accept: str | None, offers: tuple[str, ...]) -> str:
    """The offer that the client prefers, the first of equals; without a header the first offer.

    A very long header is ignored, as RFC 9110, section 12.5.1 allows: parsing it would block the
    event loop. Raises NotAcceptableError.
    """
    if not accept or len(accept) > MAX_ACCEPT_LENGTH:
        return offers[0]
    found = _best_offer(accept, offers)
    if found is None:
        raise NotAcceptableError(
            f"Accept: {accept[:200]} matches none of {', '.join(offers)}",
            extra={"available": list(offers)},
        )
    return found


@lru_cache(maxsize=512)
def _best_offer(accept: str, offers: tuple[str, ...]) -> str | None:
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()]
    qualities = {offer: _quality(offer, ranges) for offer in offers}
    if any(name in BROWSERS_NAME for name, _ in ranges):
        images = [offer for offer in offers if offer.startswith("image/") and qualities[offer]]
        shown = max((qualities[offer] for offer in images), default=0.0)
        qualities |= dict.fromkeys(images, shown)
    best = max(offers, key=lambda offer: qualities[offer])
    return best if qualities[best] > 0 else None


def _media_range(part: str) -> tuple[str, float]:
    """`image/*;q=0.5` -> ("image/*", 0.5); an invalid quality counts as 1."""
    name, *parameters = (piece.strip() for piece in part.split(";"))
    for parameter in parameters:
        if match := _QUALITY.fullmatch(parameter):
            return name.lower(), float(match[1])
    return name.lower(), 1.0


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """The quality of the most specific range that covers the offer (RFC 9110, section 12.5.1)."""
    for covering in (offer, f"{offer.split('/')[0]}/*", "*/*"):
        found = [quality for name, quality in ranges if name == covering]
        if found:
            return max(found)
    return 0.0


def prefers_job(request: Request) -> bool:
    """Whether the client prefers a job to a response with the images (RFC 7240)."""
    preferences = request.headers.getlist("prefer")
    return bool(preferences) and _RESPOND_ASYNC.search(", ".join(preferences)) is not None


def accepts_coding(headers: Headers, coding: str) -> bool:
    """Whether the client accepts a content coding (RFC 9110, section 12.5.3)."""
    accept = ", ".join(headers.getlist("accept-encoding"))
    if len(accept) > MAX_ACCEPT_LENGTH:
        return False
    ranges = dict(_media_range(part) for part in accept.split(",") if part.strip())
    return ranges.get(coding, ranges.get("*", 0.0)) > 0


def accept_decides(request: Request) -> bool:
    """Whether Accept decides the type of the response; false if the address names the type."""
    path: str = request.scope["path"]  # request.url would build and parse the whole address
    return "format" not in request.query_params and "." not in path.rpartition("/")[2]


def prefix_of(request: Request) -> str:
    """The prefix that public addresses have before this server's paths; usually ""."""
    prefix: str = request.scope.get("state", {}).get(PREFIX, "")
    return prefix


def base_address(request: Request) -> str:
    """The public address of this server, without a slash at its end.

    Raises InvalidValueError if it depends on a Host header that has no host name.
    """
    origin: str | None = request.scope.get("state", {}).get(ORIGIN)
    if origin is None:
        host = request.headers.get("host", "")
        if not HOST.fullmatch(host):
            raise InvalidValueError(
                f"Host: {host[:80]!r} is not a host name, so no url can be made: send the name, "
                "or set SAGAN_PUBLIC_URL at the server"
            )
        origin = f"{request.scope['scheme']}://{host}"
    return origin + prefix_of(request)


def client_has(if_none_match: str, etag: str) -> bool:
    """Whether If-None-Match has this tag, compared weakly, or is `*` (RFC 9110, section 13.1.2)."""
    return if_none_match.strip() == "*" or etag in _TAG.findall(if_none_match)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client disconnects.

    Raises ClientDisconnect in that case. `work` cancels its jobs when it is cancelled.
    """
    waiting = cast("asyncio.Task[object]", asyncio.current_task())
    leaving = asyncio.create_task(_gone(request))
    left = over = False

    def leave(gone: asyncio.Task[None]) -> None:
        nonlocal left
        if not over and not gone.cancelled():
            left = waiting.cancel()

    leaving.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if not left or waiting.uncancel() > 0:  # cancelled from elsewhere too
            raise
        leaving.result()  # raises the error of a body beyond the limit
        raise ClientDisconnect from None
    finally:
        over = True
        leaving.add_done_callback(_outcome_seen)
        leaving.cancel()


def _outcome_seen(task: asyncio.Task[None]) -> None:
    """Marks an error that came too late as seen, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""Form bodies: the fields of HTML forms and of `curl -d`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from app.errors import InvalidValueError, UnsupportedMediaTypeError

URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
FORM_TYPES = (URLENCODED, MULTIPART)
MAX_FIELDS = 100


async def form_items(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """The names and values in a form, in order; `content_type` is one of `FORM_TYPES`.

    Browsers send every field of a form, so a field without text counts as not given. Raises
    InvalidValueError for what is no form or has a file, and UnsupportedMediaTypeError for JSON that
    `curl -d` calls a form.
    """
    if content_type.partition(";")[0].strip().lower() == MULTIPART:
        items = await _multipart_items(content_type, body)
    else:
        items = _urlencoded_items(body)
    return [(name, value) for name, value in items if value]


def _urlencoded_items(body: bytes) -> list[tuple[str, str]]:
    if body.lstrip().startswith(b"{"):
        raise UnsupportedMediaTypeError(
            "the body is JSON and its Content-Type says that it is a form: send "
            "Content-Type: application/json"
        )
    try:
        text = body.decode().strip("\r\n")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise InvalidValueError("the form is not UTF-8") from None
    except ValueError:
        raise InvalidValueError(f"a form may have at most {MAX_FIELDS} fields") from None


async def _multipart_items(content_type: str, body: bytes) -> list[tuple[str, str]]:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    headers = Headers({"content-type": content_type})
    try:
        parser = MultiPartParser(headers, whole(), max_files=0, max_fields=MAX_FIELDS)
        form = await parser.parse()
    except (
        MultiPartException,
        FormParserError,
    ) as error:  # an older starlette passes it on
        reason = "it may have no files" if "files" in str(error) else str(error)
        raise InvalidValueError(f"the form is not valid: {reason}") from None
    return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]

"""GET / and /studio/{name}: the studio page for browsers, and links into the API for programs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from html import escape
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

import app
from app.api.compression import VARIES
from app.api.documentation import Responses, problems
from app.api.middleware import PlainRoute
from app.api.requests import accepted_media_type, client_has, prefix_of
from app.api.schemas import WelcomeOut
from app.errors import NotAcceptableError, NotFoundError

FOLDER = Path(app.__file__).parent / "studio"
PAGE = "index.html"
HTML, JSON = "text/html", "application/json"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# The page runs only its own scripts and speaks only to the server that it comes from. Pictures are
# fetched with the client's key, so they reach <img> and <canvas> as blob: addresses.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)
SAFETY = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
WELCOME: Responses = {
    200: {
        "description": "Links into the API, or the studio page for Accept: text/html",
        "content": {HTML: {"schema": {"type": "string"}}},
        "headers": {"Vary": {"description": "Accept", "schema": {"type": "string"}}},
    },
    304: {"description": "The client's copy of the page is current (If-None-Match)"},
}

router = APIRouter(tags=["operation"], route_class=PlainRoute)


@dataclass(frozen=True)
class StudioFile:
    """A file of the page: its bytes and its media type."""

    body: bytes
    media_type: str

    @property
    def etag(self) -> str:
        """A strong entity tag: a digest of the bytes."""
        return f'"{blake2b(self.body, digest_size=12).hexdigest()}"'


@cache
def studio_files() -> dict[str, StudioFile]:
    """The files of the page by their names, read once."""
    return {
        path.name: StudioFile(path.read_bytes(), MEDIA_TYPES[path.suffix])
        for path in FOLDER.iterdir()
        if path.suffix in MEDIA_TYPES
    }


@router.get(
    "/",
    summary="The studio page, or links into the API",
    response_model=WelcomeOut,
    responses=WELCOME | problems(),
)
async def welcome(request: Request) -> Response:
    """Returns the main paths of the API; to a browser (`Accept: text/html`) the studio page."""
    if not prefers_html(request):
        body = links(prefix_of(request)).model_dump_json()
        return Response(body, 200, {"Vary": "Accept"}, JSON)
    page = studio_files()[PAGE]
    if prefix := prefix_of(request):  # /sagan and /sagan/ both have to lead to /sagan/studio/…
        base = f'<base href="{escape(prefix)}/">'
        page = StudioFile(
            page.body.replace(b"<head>", f"<head>{base}".encode(), 1), page.media_type
        )
    return file_response(request, page, {"Vary": "Accept"})


@router.get("/studio/{name}", include_in_schema=False)
async def asset(request: Request, name: str) -> Response:
    """Returns a script, a style sheet or an icon of the page."""
    file = studio_files().get(name)
    if file is None or name == PAGE:
        raise NotFoundError(f"the studio page has no file {name[:80]!r}")
    return file_response(request, file, {})


def prefers_html(request: Request) -> bool:
    """Whether the client prefers the page; a client that accepts neither gets JSON."""
    accept = ", ".join(request.headers.getlist("accept"))
    try:
        return accepted_media_type(accept, (JSON, HTML)) == HTML
    except NotAcceptableError:
        return False


def links(prefix: str) -> WelcomeOut:
    """The main paths of the API, below the prefix that public addresses have."""
    paths = {
        "generate": "/generate?class={class}&seed={seed}",
        "image": "/images/{image_id}.png",
        "attention map": "/attention-map?image={image_id}&x={x}&y={y}",
        "classes": "/classes",
        "models": "/models",
    }
    return WelcomeOut(
        name="SAGAN",
        docs=f"{prefix}/docs",
        openapi=f"{prefix}/openapi.json",
        links={name: prefix + path for name, path in paths.items()},
    )


def file_response(request: Request, file: StudioFile, headers: dict[str, str]) -> Response:
    """The file, or 304 if the client has it already; browsers ask again before each use."""
    varies = ", ".join(filter(None, (headers.get("Vary"), VARIES)))  # its files are compressed
    headers = {"ETag": file.etag, "Cache-Control": "no-cache", **SAFETY, **headers, "Vary": varies}
    held = ", ".join(request.headers.getlist("if-none-match"))
    if held and client_has(held, file.etag):
        return Response(None, 304, headers)
    return Response(file.body, 200, headers, file.media_type)

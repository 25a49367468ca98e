"""PlainRoute: a route whose handler reads the request and makes the response by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import request_response


class PlainRoute(APIRoute):
    """Described in the OpenAPI document as any route is, but called with the request alone.

    FastAPI's own parsing, dependencies and exit stacks are for handlers that have some.
    """

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Response]], **how: Any) -> None:
        super().__init__(path, endpoint, **how)

        async def respond(request: Request) -> Response:
            return await endpoint(request, **request.path_params)

        self.app = request_response(respond)

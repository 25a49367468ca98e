"""A short way to the routes that read the request by themselves, past FastAPI's own layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import error_response
from app.api.routes import PlainRoute


def add_short_way(app: FastAPI) -> None:
    """Has the application call each PlainRoute of a fixed address directly.

    FastAPI's layers are for handlers with dependencies; they took a fifth of the API's time for a
    small picture (docs/performance.md). What `add_middleware` adds surrounds both ways.
    """
    build = app.build_middleware_stack  # which Starlette calls once, when the application starts

    def build_both() -> ASGIApp:
        plain = [route for route in app.routes if isinstance(route, PlainRoute)]
        return ShortWay(plain, app.user_middleware, build())

    app.build_middleware_stack = build_both  # type: ignore[method-assign]


class ShortWay:
    """Leads requests whose method and path are a route's own to it, all others on."""

    def __init__(
        self, routes: Iterable[PlainRoute], layers: Sequence[Middleware], others: ASGIApp
    ) -> None:
        self.routes = {
            (method, route.path): route
            for route in routes
            if not route.param_convertors
            for method in route.methods or ()
        }
        self.others = others
        self.surrounded: ASGIApp = self._respond
        for layer, args, kwargs in reversed(layers):
            self.surrounded = layer(self.surrounded, *args, **kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        is_known = scope["type"] == "http" and (scope["method"], scope["path"]) in self.routes
        await (self.surrounded if is_known else self.others)(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.routes[scope["method"], scope["path"]]
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except Exception as error:  # noqa: BLE001 - those that nobody foresaw are raised again
            response = await error_response(request, error)
        await response(scope, receive, send)

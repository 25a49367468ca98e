"""The HTTP server of a worker: /metrics for Prometheus, /livez and /readyz for supervisors."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from http import HTTPStatus
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

METHODS = ("GET", "HEAD")
ALLOW = ("Allow", "GET, HEAD")
TURN_S = 2.0  # within which a live event loop must respond


class Probes:
    """The WSGI application; it runs in threads beside the event loop that it checks."""

    def __init__(
        self,
        registry: CollectorRegistry,
        loop: asyncio.AbstractEventLoop,
        why_not_ready: Callable[[], str | None],
    ) -> None:
        self.loop = loop
        self.why_not_ready = why_not_ready
        self._metrics = make_wsgi_app(registry)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request: GET, and HEAD like GET without the body."""
        method = environ["REQUEST_METHOD"]
        if method not in METHODS:
            detail = f"{method} is not allowed: use GET"
            return _answer(start_response, HTTPStatus.METHOD_NOT_ALLOWED, detail, ALLOW)
        begun: list[tuple[str, list[tuple[str, str]]]] = []

        def begin(status: str, headers: list[tuple[str, str]], *_: object) -> Callable[..., object]:
            begun.append((status, headers))
            return begun.append

        page = b"".join(self._page({**environ, "REQUEST_METHOD": "GET"}, begin))
        [(status, headers)] = begun
        others = [one for one in headers if one[0].lower() != "content-length"]
        start_response(status, [*others, ("Content-Length", str(len(page)))])
        return [] if method == "HEAD" else [page]

    def _page(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            page: Iterable[bytes] = self._metrics(environ, start_response)
            return page
        if path not in ("/livez", "/readyz"):
            return _answer(start_response, HTTPStatus.NOT_FOUND, f"no such path: {path}")
        trouble = None if self._turns() else "the event loop hangs"
        if path == "/readyz":
            trouble = trouble or self.why_not_ready()
        if trouble is not None:
            return _answer(start_response, HTTPStatus.SERVICE_UNAVAILABLE, trouble)
        return _answer(start_response, HTTPStatus.OK, path[1:])

    def _turns(self) -> bool:
        """Whether the event loop responds."""
        turned = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop)
        try:
            turned.result(TURN_S)
        except FutureTimeoutError:
            turned.cancel()
            return False
        return True


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a slow client does not delay the worker's exit

    def server_bind(self) -> None:
        """Skips the base's look-up of the host name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing: a line for each probe would flood the log."""


@contextmanager
def answering_probes(probes: Probes, host: str, port: int) -> Iterator[int]:
    """Serves `probes` in a thread inside the block, and yields the port; raises OSError."""
    with make_server(host, port, probes, _Server, _SilentHandler) as server:
        threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def _answer(
    start_response: StartResponse, status: HTTPStatus, text: str, *more: tuple[str, str]
) -> Iterable[bytes]:
    body = json.dumps({"status": text}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *more]
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]

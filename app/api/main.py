"""The API process: builds the application and serves it until SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import math
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from importlib.metadata import version
from types import FrameType
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from app.api.addresses import Addresses
from app.api.authentication import Authentication, KeyRing, has_keys
from app.api.compression import Compression
from app.api.connection_bound import ConnectionBound, connections_within_files
from app.api.documentation import complete_openapi
from app.api.endpoints import (
    attention,
    classes,
    generate,
    health,
    interpolate,
    jobs,
    openai,
    problem_pages,
    studio,
    verify,
)
from app.api.middleware import DirectRoutes, Requests, SizeLimits
from app.api.problems import add_problem_handlers
from app.api.protocol import BoundedProtocol, UnsentBytes
from app.api.services import Services, open_services
from app.settings import (
    Settings,
    SettingsError,
    listed,
    load_settings,
    refuse,
    require_redis_url,
)
from app.stopping import stop_signals
from app.telemetry import ApiMetrics, Tracing, configure_logging, tracing_of

EXPOSED_HEADERS = (  # that pages of other origins may read, beside those that all may read
    "Content-Disposition", "Content-Location", "ETag", "Location", "Preference-Applied",
    "RateLimit", "RateLimit-Policy",
    "Retry-After", "Server-Timing", "X-Attention-Shape", "X-Image-ID", "X-Model", "X-Request-ID",
    "X-Seed",
)  # fmt: skip
KEEP_ALIVE_S = 75  # longer than load balancers keep idle connections, so that these close them
DESCRIPTION = "Images and attention maps on demand from a Self-Attention GAN."


def main(settings: Settings | None = None) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit status."""
    try:
        settings = settings or load_settings()
        app = create_app(settings, tracing_of(settings, "sagan-api"))
    except SettingsError as error:
        return refuse(error)
    configure_logging(settings.log_level)
    max_connections = connections_within_files(settings.max_connections)
    server = DrainingServer(app, settings, max_connections)
    gc.collect()
    gc.freeze()  # no collection visits what stays for good, which would show in the p99
    with server.stopped_by_signals():
        server.run()
    return 0


def create_app(settings: Settings, tracing: Tracing | None = None) -> FastAPI:
    """The application; its lifespan connects to Redis. Raises SettingsError without a Redis URL."""
    require_redis_url(settings)
    metrics = ApiMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Services]]:  # noqa: ARG001
        async with open_services(settings, metrics, tracing) as services:
            yield {"services": services}
        if tracing is not None:
            await asyncio.to_thread(tracing.close)

    app = FastAPIOffline(  # /docs loads its scripts from here, not from a CDN
        title="SAGAN",
        description=DESCRIPTION,
        version=version("sagan-service"),
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
        },  # app.telemetry has its own
    )
    app.state.draining = False
    app.state.unsent = UnsentBytes(settings.max_unsent_bytes)
    modules = (generate, jobs, interpolate, attention, verify, classes, health, openai)
    for module in (*modules, studio, problem_pages):
        app.router.routes.extend(module.router.routes)  # flat, so that the router looks up once
    add_problem_handlers(app)
    add_layers(app, settings, metrics)
    if tracing is not None:
        tracing.surround(app)
    complete_openapi(app, max_timeout_ms=settings.max_timeout_ms, keys=has_keys(settings))
    return app


def add_layers(app: FastAPI, settings: Settings, metrics: ApiMetrics) -> None:
    """Puts the middleware around the routes, the innermost first; raises SettingsError."""
    app.add_middleware(Compression)  # of what the router serves; DirectRoutes does it itself
    app.add_middleware(DirectRoutes, routes=app.routes)
    app.add_middleware(SizeLimits, larger_bodies={verify.PATH: verify.MAX_FILE_BYTES})
    if has_keys(settings):
        app.add_middleware(Authentication, keys=KeyRing(settings))
    refuse_own_prefix(app, settings.public_url)
    app.add_middleware(
        Requests, metrics=metrics, unsent=app.state.unsent, access_log=settings.access_log
    )
    if settings.public_url or settings.trusted_proxies:
        app.add_middleware(
            Addresses, public_url=settings.public_url, trusted_proxies=settings.trusted_proxies
        )
    if origins := listed(settings.cors_origins):  # outermost: a page can read 503s as well
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["DELETE", "GET", "POST"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )


def refuse_own_prefix(app: FastAPI, public_url: str) -> None:
    """Raises SettingsError if the public URL's path begins like a path of the application."""
    first = urlsplit(public_url).path.strip("/").partition("/")[0]
    own = {getattr(route, "path", "").strip("/").partition("/")[0] for route in app.routes}
    if first and first in own:
        raise SettingsError(
            f"SAGAN_PUBLIC_URL={public_url!r} is not valid: the API has paths under /{first} "
            "itself, so give it another prefix"
        )


class DrainingServer(uvicorn.Server):
    """On SIGTERM this server becomes unready, accepts no connections and finishes its requests."""

    def __init__(
        self, app: FastAPI, settings: Settings, max_connections: int | None = None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                http=partial(  # type: ignore[arg-type]
                    BoundedProtocol,
                    unsent=app.state.unsent,
                    bound=ConnectionBound(max_connections or settings.max_connections),
                ),
                server_header=False,
                proxy_headers=False,  # the application has a setting for trusted proxies
                ws="none",
                lifespan="on",
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(settings.drain_s),
            )
        )
        self.app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Starts to drain."""
        self.app.state.draining = True
        super().handle_exit(sig, frame)

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Makes signals drain the server also before and after it runs.

        At its end uvicorn raises all received signals once more, which would kill this process.
        """
        former = {number: signal.signal(number, self.handle_exit) for number in stop_signals()}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())

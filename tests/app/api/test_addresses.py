"""Links lead to where clients know the server, and clients are who they are, behind proxies too."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from app.api.addresses import Addresses
from app.api.main import create_app
from app.settings import Settings, SettingsError, load_settings
from tests.app.api.fake_worker import FakeWorker
from tests.app.api.served_app import served
from tests.app.api.started_app import started, until_ready
from tests.app.api.test_protocol import talk

PROXY = {"trusted_proxies": "127.0.0.0/8, fd00::/8"}
DRAW = {"prompt": "ice-cream", "seed": 7, "response_format": "url"}


async def seen(
    headers: dict[str, str], peer: str = "127.0.0.1", path: str = "/", **settings: str
) -> Scope:
    """What the application gets of a request."""
    found: list[Scope] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        found.append(scope)

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "scheme": "http", "client": (peer, 1), "path": path}
    scope |= {"headers": raw, "raw_path": path.encode()}
    known = {"public_url": "", "trusted_proxies": "", **settings}
    await Addresses(app, **known)(scope, None, None)  # type: ignore[arg-type]
    return found[0]


@pytest.mark.parametrize(
    ("told", "peer", "client"),
    [
        ("1.2.3.4", "127.0.0.1", "1.2.3.4"),
        ("1.2.3.4", "9.9.9.9", "9.9.9.9"),
        ("6.6.6.6, 1.2.3.4", "127.0.0.1", "1.2.3.4"),
        ("1.2.3.4, 127.0.0.2", "127.0.0.1", "1.2.3.4"),
        ("1.2.3.4:5678", "127.0.0.1", "1.2.3.4"),
        ("2001:db8::1", "fd00::1", "2001:db8::1"),
        ("[2001:db8::1]", "fd00::1", "2001:db8::1"),
        ("[2001:db8::1]:5678", "fd00::1", "2001:db8::1"),
        ("1.2.3.4", "::ffff:127.0.0.1", "1.2.3.4"),
        ("::ffff:1.2.3.4", "127.0.0.1", "1.2.3.4"),
        ("unknown", "127.0.0.1", "127.0.0.1"),
        ("1.2.3.4, unknown", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.3, 127.0.0.2", "127.0.0.1", "127.0.0.3"),
    ],
)
async def test_the_client_is_the_last_that_no_trusted_proxy_is(
    told: str, peer: str, client: str
) -> None:
    """IPv4 and IPv6, with brackets and ports."""
    scope = await seen({"X-Forwarded-For": told}, peer, **PROXY)
    assert scope["client"][0] == client


@pytest.mark.parametrize(
    ("told", "scheme"),
    [("https", "https"), ("https, http", "https"), ("http, https", "http"), ("HTTPS,http", "https"),
     ("wss", "http"), ("", "http"), (", https", "https")],
)  # fmt: skip
async def test_of_several_schemes_the_first_is_the_client_s(told: str, scheme: str) -> None:
    """And nobody but a trusted proxy can tell."""
    assert (await seen({"X-Forwarded-Proto": told}, **PROXY))["scheme"] == scheme
    assert (await seen({"X-Forwarded-Proto": told}, "9.9.9.9", **PROXY))["scheme"] == "http"


@pytest.mark.parametrize(
    ("more", "headers", "base"),
    [
        ({}, {}, "http://sagan"),
        ({}, {"Host": "my_host.lan:8000"}, "http://my_host.lan:8000"),
        ({}, {"Host": "[::1]:8000"}, "http://[::1]:8000"),
        ({"public_url": "https://art.example/sagan/"}, {}, "https://art.example/sagan"),
        ({"public_url": "https://[2001:db8::1]:8443"}, {}, "https://[2001:db8::1]:8443"),
        ({"public_url": "https://art.example"}, {"Host": "a b"}, "https://art.example"),
        (PROXY, {"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "art.example, inner"},
         "https://art.example"),
        (PROXY, {"X-Forwarded-Prefix": "/sagan"}, "http://sagan/sagan"),
        (PROXY, {"X-Forwarded-Prefix": "//evil.example", "X-Forwarded-Host": "a/b"}, "http://sagan"),
        ({}, {"X-Forwarded-Prefix": "/sagan", "X-Forwarded-Host": "evil"}, "http://sagan"),
    ],
)  # fmt: skip
async def test_every_link_leads_to_where_clients_know_the_server(
    settings: Settings,
    worker: FakeWorker,
    more: dict[str, str],
    headers: dict[str, str],
    base: str,
) -> None:
    """The url of a picture, Content-Location, the documents and the pages."""
    given = {**settings.model_dump(exclude_unset=True), **more}
    prefix = "/" + base.split("/", 3)[3] if base.count("/") > 2 else ""
    async with started(create_app(load_settings(**given))) as client:
        await until_ready(client)
        made = await client.post("/v1/images/generations", json=DRAW, headers=headers)
        assert made.json()["data"][0]["url"].startswith(f"{base}/images/")
        one = await client.post("/generate?class=0&seed=7", headers=headers)
        assert one.headers["content-location"].startswith(f"{prefix}/images/")
        listed = await client.post("/generate?class=0&seed=7&layout=json", headers=headers)
        assert listed.json()["images"][0]["url"].startswith(f"{prefix}/images/")
        welcome = (await client.get("/", headers=headers)).json()
        assert welcome["docs"] == f"{prefix}/docs"
        assert welcome["links"]["classes"] == f"{prefix}/classes"
        page = (await client.get("/docs", headers=headers)).text
        assert f"'{prefix}/openapi.json'" in page
        assert f'"{prefix}/static-offline-docs/swagger-ui-bundle.js"' in page
        document = (await client.get("/openapi.json", headers=headers)).json()
        assert document.get("servers", [{"url": ""}])[0]["url"] == prefix
        missing = (await client.get("/nowhere", headers=headers)).json()
        assert missing["detail"].endswith(f"see {prefix}/docs")


@pytest.mark.parametrize("path", ["/sagan/livez", "/livez"])
async def test_a_proxy_may_leave_the_prefix_of_the_public_url_on_the_path(
    settings: Settings, path: str
) -> None:
    """Or take it off; over a real connection."""
    public = {"public_url": "https://art.example/sagan"}
    known = load_settings(**settings.model_dump(exclude_unset=True), **public)
    asked = f"GET {path} HTTP/1.1\r\nHost: art.example\r\nConnection: close\r\n\r\n"
    async with served(create_app(known), known) as port:
        assert b"alive" in await talk(port, asked.encode())


def test_a_prefix_that_is_a_path_of_the_api_is_refused(settings: Settings) -> None:
    """Nobody could tell whether the proxy has taken it off."""
    public = {"public_url": "https://art.example/images"}
    with pytest.raises(SettingsError, match="under /images itself"):
        create_app(load_settings(**settings.model_dump(exclude_unset=True), **public))


@pytest.mark.parametrize(
    "wrong", ["art.example", "ftp://art.example", "https://a b", "https://a/?b"]
)
def test_a_public_url_that_is_none_is_refused_at_the_start(wrong: str) -> None:
    """The error has the setting's name and value."""
    with pytest.raises(SettingsError, match="SAGAN_PUBLIC_URL"):
        load_settings(public_url=wrong)

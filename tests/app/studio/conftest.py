"""A service and a browser for all tests of a module, and a tab for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.app.studio.browser import StudioPage, chromium
from tests.integration.service import Service


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


@pytest.fixture(scope="module")
def browser(service: Service) -> Iterator[Browser]:
    """Started once; the service starts first, as its processes must not inherit the browser's."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def studio(browser: Browser, service: Service) -> Iterator[StudioPage]:
    """The page in a tab of its own, which must not complain nor ask another server."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    studio = StudioPage(context, service.url)
    yield studio
    context.close()
    assert studio.complaints == []
    assert [url for url in studio.requested if not url.startswith((studio.url, "blob:"))] == []

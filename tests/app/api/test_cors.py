"""Web pages of other origins: which may call the API, and what they may read."""

from __future__ import annotations

import pytest

from app.api.main import create_app
from app.settings import Settings, SettingsError, load_settings
from tests.app.api.fake_worker import FakeWorker
from tests.app.api.started_app import started, until_ready

PAGE = {"Origin": "https://art.example"}
PREFLIGHT = PAGE | {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type",
}


@pytest.mark.parametrize("origins", ["https://art.example, http://localhost:5173", "*"])
async def test_a_page_of_an_allowed_origin_reads_images_and_errors(
    settings: Settings, worker: FakeWorker, origins: str
) -> None:
    """With the headers that say which image it is and when to try again."""
    async with started(create_app(settings.model_copy(update={"cors_origins": origins}))) as http:
        await until_ready(http)
        may = await http.options("/generate", headers=PREFLIGHT)
        assert may.status_code == 200
        assert may.headers["access-control-allow-origin"] in ("https://art.example", "*")
        assert "POST" in may.headers["access-control-allow-methods"]
        drawn = await http.post("/generate?class=0&seed=1", headers=PAGE)
        wrong = await http.post("/generate?class=nothing", headers=PAGE)
    for response, status in ((drawn, 200), (wrong, 422)):
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] in ("https://art.example", "*")
        readable = response.headers["access-control-expose-headers"]
        assert {"X-Image-ID", "X-Seed", "ETag", "Retry-After"} <= set(readable.split(", "))


async def test_no_other_page_reads_anything(settings: Settings, worker: FakeWorker) -> None:
    """Neither one of another origin nor, without the setting, any."""
    for origins in ("", "https://other.example"):
        app = create_app(settings.model_copy(update={"cors_origins": origins}))
        async with started(app) as http:
            await until_ready(http)
            drawn = await http.post("/generate?class=0&seed=1", headers=PAGE)
            assert drawn.status_code == 200
            assert "access-control-allow-origin" not in drawn.headers
            may = await http.options("/generate", headers=PREFLIGHT)
            assert may.status_code >= 400


@pytest.mark.parametrize("origins", ["art.example", "https://art.example/page", "ftp://a.example"])
def test_what_is_no_origin_is_refused(origins: str) -> None:
    """In a line that shows the form."""
    with pytest.raises(SettingsError, match=r"is no origin: write https://HOST"):
        load_settings(redis_url="redis://127.0.0.1:1", cors_origins=origins)

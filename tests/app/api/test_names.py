"""Names of classes and models over HTTP, in whatever form the client's keyboard makes them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import generate_latest

from app.api.main import create_app
from app.queue.messages import ModelClass
from app.settings import Settings
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.started_app import services_behind, started, until_ready

NAMES = ("Café", "AC/DC", "Straße")
ODD = replace(CARD, name="modèle", classes=tuple(ModelClass(one, None) for one in NAMES))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/classes/AC%2FDC", "AC/DC"),
        ("/classes/AC/DC", "AC/DC"),
        ("/classes/ac%2fdc?model=mod%C3%A8le", "AC/DC"),
        ("/classes/Cafe%CC%81?model=mode%CC%80le", "Café"),
        ("/classes/%EF%BC%A3af%C3%A9", "Café"),
        ("/classes/STRASSE", "Straße"),
        ("/classes/AC%2FDC%2Flive", None),
        ("/classes/", None),
        ("/v1/models/mode%CC%80le", "modèle"),
        ("/v1/models/a%2Fb", None),
    ],
)
async def test_a_name_is_found_in_every_form_and_with_a_slash(
    settings: Settings, redis_url: str, path: str, name: str | None
) -> None:
    """In paths and in fields; one that is nobody's is 404, under the route's own label."""
    async with (
        FakeWorker(redis_url, ODD).running(),
        started(create_app(settings)) as client,
    ):
        await until_ready(client)
        answer = await client.get(path)
        if name is None:
            assert answer.status_code == 404
        else:
            assert name in (answer.json().get("name"), answer.json().get("id"))
        metrics = generate_latest((await services_behind(client)).metrics.registry).decode()
        label = "/v1/models/{model}" if path.startswith("/v1") else "/classes/{class_key}"
        assert f'route="{label}"' in metrics

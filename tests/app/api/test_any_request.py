"""Whatever is sent, the answer is documented and never a crash."""

from __future__ import annotations

import json
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.main import create_app
from app.api.schemas import AttentionFields, GenerateFields
from app.settings import load_settings
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.started_app import started, until_ready

PREFIX = CARD.fingerprint[:12]
NAMES = sorted({*GenerateFields.field_names, *AttentionFields.field_names, "q"})
VALUES = (
    st.sampled_from(
        ["0", "1", "-1", "0.5", "golden_retriever", "png", "json", f"{PREFIX}-0-7-n", "", "animals"]
    )
    | st.integers().map(str)
    | st.text(max_size=12)
)
PAIRS = st.lists(st.tuples(st.sampled_from(NAMES) | st.text(max_size=6), VALUES), max_size=6)
QUERIES = PAIRS.map(
    lambda pairs: "&".join(f"{escaped(name)}={escaped(value)}" for name, value in pairs)
)
PATHS = st.sampled_from(
    [
        "/generate",
        "/interpolate",
        "/v1/images/generations",
        "/attention-map",
        "/classes",
        "/models",
        f"/images/{PREFIX}-0-7-n",
        "/readyz",
    ]
) | st.text(max_size=12).map(lambda text: f"/images/{escaped(text)}")
BODIES = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.dictionaries(
        st.sampled_from(NAMES), VALUES | st.integers() | st.none() | st.floats(), max_size=5
    ).map(lambda fields: json.dumps(fields).encode()),
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(["application/json", "text/plain", "application/json; x"]),
        "Accept": st.sampled_from(["image/png", "application/json", "text/html", "*/*;q=0", ";"]),
        "If-None-Match": st.sampled_from(["*", '"', 'W/"a", "b"']),
        "X-Request-ID": st.sampled_from(["a b", "x" * 300, "fine"]),
    },
)
Sent = tuple[str, str, str, bytes | None, dict[str, str]]


def escaped(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


async def test_any_request_has_a_documented_answer(redis_url: str, worker: FakeWorker) -> None:
    """No query string, body or header makes a 5xx while all is well.

    The client holds each answer against the OpenAPI document.
    """
    sent: list[Sent] = []

    @settings(max_examples=300, suppress_health_check=list(HealthCheck), database=None)
    @given(st.tuples(st.sampled_from(["GET", "POST", "HEAD"]), PATHS, QUERIES, BODIES, HEADERS))
    def collect(one: Sent) -> None:
        sent.append(one)

    collect()
    patient = load_settings(redis_url=redis_url)  # a slow moment of this machine is no dead worker
    async with started(create_app(patient)) as client:
        await until_ready(client)
        for method, path, query, body, headers in sent:
            response = await client.request(
                method, f"{path}?{query}", content=body, headers=headers
            )
            assert response.status_code < 500, (method, path, query, body, headers)


@pytest.mark.parametrize("path", ["/generate", "/interpolate", "/v1/images/generations"])
@pytest.mark.parametrize(
    ("coding", "status"), [("gzip", 415), ("br, gzip", 415), ("identity", 200)]
)
async def test_a_body_with_a_coding_is_refused_as_such(
    ready_api: httpx.AsyncClient, path: str, coding: str, status: int
) -> None:
    """415, whatever is in it; not broken JSON."""
    asked: dict[str, object] = {"class": 0, "seed": 7, "to_seed": 8, "frames": 2}
    if path == "/generate":
        asked = {"class": 0, "n": None, "format": None, "priority": None, "timeout_ms": None}
    elif path.startswith("/v1/"):
        asked = {"prompt": "0", "n": None, "size": None}
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    body = json.dumps(asked).encode()
    answer = await ready_api.post(path, content=body, headers=headers)
    assert answer.status_code == status
    if status == 415:
        assert coding in answer.text

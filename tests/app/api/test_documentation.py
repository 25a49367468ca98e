"""The OpenAPI document tells the truth."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from app.api.main import create_app
from app.settings import load_settings


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(load_settings(redis_url="redis://nowhere")).openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_error_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    """No other media type but OpenAI's under /v1/, and no default error of the framework."""
    for name, operation in operations(document):
        if " /v1/" in name:
            continue
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (name, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_errors_to_retry_after_are_documented_with_the_header(document: dict[str, Any]) -> None:
    """429, 503 and 504 have Retry-After."""
    for _, operation in operations(document):
        for status in {"429", "503", "504"} & set(operation["responses"]):
            header = operation["responses"][status]["headers"]["Retry-After"]
            assert ("finished the queue" in header["description"]) == (status == "429")


@pytest.mark.parametrize(
    "status", ["405", "406", "408", "410", "413", "414", "415", "422", "429", "500", "503"]
)
def test_generate_documents_its_errors(document: dict[str, Any], status: str) -> None:
    """All that the contract lists."""
    assert status in document["paths"]["/generate"]["post"]["responses"]


def test_query_and_body_are_described_alike(document: dict[str, Any]) -> None:
    """The same fields with the same bounds."""
    operation = document["paths"]["/generate"]["post"]
    query = {one["name"]: one["schema"] for one in operation["parameters"]}
    body = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert set(query) == set(body)
    assert query["seed"] == {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
    assert query["truncation"]["maximum"] == 4
    scale = query["attention_scale"]
    assert (scale["minimum"], scale["maximum"], scale["default"]) == (0, 2, 1)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """Schemas are named in one place."""

    def references(node: object) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if "$ref" in node else set()
            return own.union(*(references(value) for value in node.values()))
        if isinstance(node, list):
            return set().union(*(references(value) for value in node))
        return set()

    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= schemas


def test_operations_have_short_and_unique_names(document: dict[str, Any]) -> None:
    """Clients that are made of the document have calls of these names."""
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert {"generate", "get_generated", "attention_map", "openai_generations"} <= set(names)
    assert not [name for name in names if "__" in name or name.endswith(("_get", "_post"))]


def test_the_document_is_spelt_as_openapi_3_1(document: dict[str, Any]) -> None:
    """Base64 is an encoding; `nullable` and `example` are of 3.0.

    Files have the schema by which generated clients know bytes, wherever they are.
    """
    assert document["openapi"].startswith("3.1")
    found = document["paths"]["/images/{image_id}"]["get"]["responses"]["200"]["content"]
    assert found["image/png"] == {"schema": {"type": "string", "format": "binary"}}
    files = [
        media.get("schema")
        for _, operation in operations(document)
        for part in (*operation["responses"].values(), operation.get("requestBody", {}))
        for name, media in part.get("content", {}).items()
        if name.startswith("image/") or name in ("application/zip", "application/octet-stream")
    ]
    assert len(files) > 15
    assert all(schema == found["image/png"]["schema"] for schema in files)
    data = document["components"]["schemas"]["GeneratedImage"]["properties"]["data"]
    assert data["contentEncoding"] == "base64"
    assert '"nullable"' not in json.dumps(document)


def test_every_route_is_documented(document: dict[str, Any]) -> None:
    """Probes and metrics too."""
    paths = set(document["paths"])
    assert {"/generate", "/images/{image_id}", "/attention-map", "/classes", "/models"} <= paths
    assert {"/livez", "/readyz", "/metrics"} <= paths


async def test_the_documentation_page_loads_nothing_from_elsewhere(api: httpx.AsyncClient) -> None:
    """Its scripts, styles and icon come from this server: it works offline and tells no CDN."""
    page = (await api.get("/docs")).text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    for address in loaded:
        assert address.startswith("/")
        assert (await api.get(address)).status_code == 200

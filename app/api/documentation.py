"""Describes the endpoints in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import groupby
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.api.authentication import is_open
from app.api.forms import FORM_TYPES
from app.api.problems import MEDIA_TYPE, OPENAI_FOLDER, MethodNotAllowedError, OverloadedError
from app.api.requests import RequestFields
from app.api.schemas import (
    AttentionOut,
    GeneratedOut,
    JobIdsOut,
    JobOut,
    OpenAIError,
    Problem,
    VerifyOut,
)
from app.errors import AppError, PayloadTooLargeError, QueryTooLongError, UnauthenticatedError

Responses = dict[int | str, dict[str, Any]]
EVERYWHERE: tuple[type[AppError], ...] = (
    MethodNotAllowedError,
    PayloadTooLargeError,
    QueryTooLongError,
    OverloadedError,
    AppError,
)
JSON_SCHEMA_NAMES = {"ge": "minimum", "le": "maximum"}  # pydantic leaves these behind a validator
# OpenAPI 3.1 needs no schema for bytes, but the clients that are generated of the document do.
BINARY = {"type": "string", "format": "binary"}
REFERENCE = "#/components/schemas/"
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
IMAGE_HEADERS = {
    "X-Image-ID": "Image id, valid for ever: GET /images/{id}; several are separated by commas",
    "X-Seed": "Seed of the image, or of the first of several",
    "X-Model": "Model that generated the image",
    "ETag": "Identifies the bytes",
    "Cache-Control": "immutable for an image id, no-cache for a class and seed, no-store without a "
    "seed",
    "Content-Location": "Path of the image",
    "Content-Disposition": "Name for a saved file: class and seed",
    "Server-Timing": "Milliseconds in queue, batch, model and encode",
    "X-Attention-Shape": "H,W,h,w of format=bin: H·W float32 maxima, then H·W×h·w uint8, each map "
    "with its maximum at 255; little-endian",
    "RateLimit": "Images left of the client's rate limit, if there is one",
    "RateLimit-Policy": "Images and seconds of the rate limit",
}


def problems(*errors: type[AppError]) -> Responses:
    """The error responses of an endpoint: these errors, and those that every endpoint has."""
    by_status = sorted({*errors, *EVERYWHERE}, key=lambda error: (error.status, error.slug))
    return {
        int(status): _problem_response(list(group))
        for status, group in groupby(by_status, key=lambda error: error.status)
    }


def openai_errors(*errors: type[AppError]) -> Responses:
    """The error responses of an endpoint under /v1/, in OpenAI's format."""
    responses = problems(*errors)
    if 422 in responses:
        responses[400] = responses.pop(422)
    content = {"application/json": {"schema": {"$ref": f"{REFERENCE}{OpenAIError.__name__}"}}}
    return {status: {**one, "content": content} for status, one in responses.items()}


def images(media_types: Iterable[str], document: type[BaseModel] | None = None) -> Responses:
    """The success response of an endpoint that returns images or a JSON document."""
    content: dict[str, Any] = {media: {"schema": BINARY} for media in media_types}
    if document is not None:
        content["application/json"] = {"schema": {"$ref": f"{REFERENCE}{document.__name__}"}}
    headers = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in IMAGE_HEADERS.items()
    }
    return {
        200: {
            "description": "The image, or several in one file",
            "content": content,
            "headers": headers,
        }
    }


NOT_MODIFIED: Responses = {304: {"description": "The client's copy is current (If-None-Match)"}}


def query_parameters(model: type[RequestFields], required: Collection[str] = ()) -> dict[str, Any]:
    """The members of an operation that describe `model` as query parameters."""
    parameters = []
    for name, schema in _properties(model).items():
        described = {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": schema.pop("description", ""),
            "schema": schema,
        }
        parameters.append(described)
    return {"parameters": parameters}


def json_body(model: type[RequestFields], required: Sequence[str] = ()) -> dict[str, Any]:
    """The members of an operation that describe `model` as a JSON body, or as a form.

    The body is optional if no field is `required`.
    """
    schema = {
        "type": "object",
        "additionalProperties": model.passes_over_unknown,
        "properties": _properties(model),
        "examples": model.model_json_schema().get("examples", []),
    }
    if required:
        schema["required"] = list(required)
    content = {media: {"schema": schema} for media in ("application/json", *FORM_TYPES)}
    return {"requestBody": {"required": bool(required), "content": content}}


def file_body(media_types: Iterable[str]) -> dict[str, Any]:
    """The members of an operation that describe a file as its body."""
    content = {media: {"schema": BINARY} for media in media_types}
    return {"requestBody": {"required": True, "content": content}}


def document(description: str, model: type[BaseModel]) -> Responses:
    """The success response of an endpoint that returns a JSON document."""
    schema = {"$ref": f"{REFERENCE}{model.__name__}"}
    return {200: {"description": description, "content": {"application/json": {"schema": schema}}}}


def operation_id(route: APIRoute) -> str:
    """The operationId of a route: generated clients name their calls by it."""
    return f"openai_{route.name}" if route.path.startswith(OPENAI_FOLDER) else route.name


def complete_openapi(app: FastAPI, *, max_timeout_ms: int, keys: bool) -> None:
    """Adds to the document what the endpoints do not know: schemas by name, and settings.

    With `keys` the document says that keys are required and how to send them.
    """
    for route in app.routes:
        if isinstance(route, APIRoute):
            route.operation_id = operation_id(route)
    document = app.openapi()
    components = document.setdefault("components", {})
    _add_schemas(components.setdefault("schemas", {}))
    if keys:
        components["securitySchemes"] = SECURITY_SCHEMES
    for path, operation in _operations(document):
        if path.startswith(OPENAI_FOLDER):
            operation["responses"].pop("422", None)  # FastAPI adds it; under /v1/ it is 400
        if keys and not is_open(path):
            operation["security"] = [{name: []} for name in SECURITY_SCHEMES]
            described = openai_errors if path.startswith(OPENAI_FOLDER) else problems
            operation["responses"]["401"] = described(UnauthenticatedError)[401]
        for fields in _fields(operation):
            if "timeout_ms" in fields:
                fields["timeout_ms"]["maximum"] = max_timeout_ms


def _add_schemas(schemas: dict[str, Any]) -> None:
    for model in (Problem, OpenAIError, AttentionOut, GeneratedOut, VerifyOut, JobOut, JobIdsOut):
        schema = model.model_json_schema(ref_template=REFERENCE + "{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            yield path, operation


def _fields(operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas of the query parameters, then those of the body."""
    yield {one["name"]: one["schema"] for one in operation.get("parameters", ())}
    for content in operation.get("requestBody", {"content": {}})["content"].values():
        yield content["schema"].get("properties", {})


def _problem_response(errors: list[type[AppError]]) -> dict[str, Any]:
    schema = {"$ref": f"{REFERENCE}{Problem.__name__}"}
    examples = {error.slug: {"summary": error.title, "value": _example(error)} for error in errors}
    response: dict[str, Any] = {
        "description": ". ".join(error.title for error in errors),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }
    if errors[0].status == HTTPStatus.UNAUTHORIZED:
        text = "The required scheme (RFC 6750)"
        response["headers"] = {
            "WWW-Authenticate": {"description": text, "schema": {"type": "string"}}
        }
    if errors[0].status in (429, 503, 504):
        text = "Seconds to wait before a retry"
        if errors[0].status == HTTPStatus.TOO_MANY_REQUESTS:
            text += (
                ": until the live workers have finished the queue, or until the client's rate "
                "limit has room"
            )
        response["headers"] = {"Retry-After": {"description": text, "schema": {"type": "integer"}}}
    return response


def _example(error: type[AppError]) -> dict[str, str | int]:
    return {
        "type": f"/problems/{error.slug}",
        "title": error.title,
        "status": int(error.status),
        "detail": (error.__doc__ or "").strip(),
        "instance": "8f14e45fceea4674a4f2a4a1a9f0d2b7",
    }


def _properties(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """The model's properties as JSON schemas; optional values are not nullable."""
    properties = model.model_json_schema()["properties"]
    return {name: _without_null(schema) for name, schema in properties.items()}


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    options = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    merged = {**(options[0] if options else {}), **schema}
    return {
        JSON_SCHEMA_NAMES.get(key, key): value
        for key, value in merged.items()
        if key not in ("anyOf", "title") and (key, value) != ("default", None)
    }

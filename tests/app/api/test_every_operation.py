"""Every operation of the OpenAPI document, by requests that schemathesis makes of it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok

from app.api.forms import FORM_TYPES
from app.api.main import create_app
from app.api_keys import listed, new_key
from app.settings import Settings, load_settings
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.served_app import served

IMAGE_ID = f"{CARD.fingerprint[:12]}-0-7-n"
MIXED = f"{IMAGE_ID[:12]}-2x700_0x300-7-n.png"
CLASS = {"enum": ["golden_retriever", "Goldie", "n02123394"]}
PATIENT = {"minimum": 30_000}
PIXEL = {"maxItems": 1, "items": {"type": "integer", "minimum": 0, "maximum": CARD.resolution - 1}}


@dataclass(frozen=True)
class Narrowing:
    """An operation with those of its fields that go together, and what only this server knows."""

    path: str
    fields: Mapping[str, Mapping[str, Any]]
    required: Sequence[str] = ()
    in_body: bool = False
    method: str = ""  # where the path has several

    def of(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document with this operation alone; what is left must all be accepted."""
        narrowed: dict[str, Any] = copy.deepcopy(dict(document))
        operations = narrowed["paths"][self.path]
        method = self.method or next(iter(operations))
        operation = operations[method]
        kept = [one for one in operation.get("parameters", []) if one["name"] in self.fields]
        for parameter in kept:
            parameter["schema"] |= self.fields[parameter["name"]]
            parameter["required"] = parameter["in"] == "path" or parameter["name"] in self.required
        body = operation.pop("requestBody", None)
        if self.in_body:
            schema = body["content"]["application/json"]["schema"]
            known = schema["properties"]
            schema["properties"] = {name: known[name] | more for name, more in self.fields.items()}
            schema["required"] = list(self.required)
            del schema["examples"]
            operation["requestBody"] = body | {"required": True}
        operation["parameters"] = [] if self.in_body else kept
        narrowed["paths"] = {self.path: {method: operation}}
        return narrowed


DRAWING: dict[str, dict[str, Any]] = {
    "class": CLASS,
    "seed": {"maximum": 2**32 - 64},
    "truncation": {},
    "attention_scale": {},
    "n": {},
    "format": {},
    "layout": {},
    "priority": {},
    "model": {"enum": ["animals"]},
    "timeout_ms": {},
}
NARROWINGS = (
    Narrowing("/generate", DRAWING, required=["class"], method="post"),
    Narrowing("/generate", DRAWING, required=["class"], in_body=True, method="post"),
    Narrowing("/generate", DRAWING, required=["class", "seed"], method="get"),
    Narrowing(
        "/interpolate",
        {
            "class": CLASS,
            "seed": {},
            "to_class": CLASS,
            "to_seed": {},
            "attention_scale": {},
            "frames": {},
            "frame_ms": {},
            "format": {},
            "timeout_ms": {},
        },
        required=["class", "seed", "to_class"],
    ),
    Narrowing(
        "/images/{image_id}",
        {
            "image_id": {"enum": [IMAGE_ID, f"{IMAGE_ID}.jpeg", f"{IMAGE_ID}-a500.png", MIXED]},
            "timeout_ms": {},
        },
    ),
    Narrowing(
        "/attention-map",
        {
            "image": {"enum": [IMAGE_ID]},
            "x": PIXEL,
            "y": PIXEL,
            "view": {},
            "size": {},
            "layer": {"enum": [-2, -1, 0, 1]},
            "format": {"enum": ["png"]},
        },
        required=["image", "x", "y", "format"],
    ),
    Narrowing(
        "/attention-map",
        {
            "image": {"enum": [IMAGE_ID]},
            "x": PIXEL,
            "y": PIXEL,
            "layer": {"enum": [-2, -1, 0, 1]},
            "format": {"enum": ["json", "npy"]},
        },
        required=["image", "x", "y", "format"],
    ),
    Narrowing(
        "/attention-map",
        {
            "class": CLASS,
            "seed": {},
            "truncation": {},
            "attention_scale": {},
            "format": {"enum": ["bin"]},
        },
        required=["class", "seed", "format"],
    ),
    Narrowing(
        "/v1/images/generations",
        {
            "prompt": CLASS,
            "model": {"enum": ["animals"]},
            "n": {},
            "seed": {"maximum": 2**32 - 64},
            "size": {"enum": ["auto", "128x128"]},
            "response_format": {},
            "output_format": {},
            "user": {},
        },
        required=["prompt"],
        in_body=True,
    ),
    Narrowing("/v1/models/{model}", {"model": {"enum": ["animals"]}}),
    Narrowing("/classes", {"q": {}, "model": {"enum": ["animals"]}}),
    Narrowing("/classes/{class_key}", {"class_key": CLASS}),
)


QUICK = [one for one in NARROWINGS if one.path in ("/images/{image_id}", "/classes")]
FEW: dict[str, dict[str, Any]] = {"class": CLASS, "n": {}, "format": {}}
QUICK.append(Narrowing("/generate", FEW, required=["class"], method="post"))


@asynccontextmanager
async def document_of(settings: Settings) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The address of a ready application, and its OpenAPI document."""
    app = create_app(settings)
    async with served(app, settings, ready=True) as port:
        yield f"http://127.0.0.1:{port}", without_haste(app.openapi())


def without_haste(document: dict[str, Any]) -> dict[str, Any]:
    """The document with no timeout so short that 504 is the right answer, and without forms.

    A field of a form that is empty counts as not given, which no schema can say.
    """
    patient = copy.deepcopy(document)
    for operations in patient["paths"].values():
        for operation in operations.values():
            for form in FORM_TYPES:
                operation.get("requestBody", {}).get("content", {}).pop(form, None)
            content = operation.get("requestBody", {}).get("content", {}).values()
            fields = {one["name"]: one["schema"] for one in operation.get("parameters", ())}
            for known in (fields, *(one["schema"].get("properties", {}) for one in content)):
                if "timeout_ms" in known:
                    known["timeout_ms"] |= PATIENT
    return patient


@dataclass
class Examination:
    """Sends what schemathesis makes, checks each answer by all its checks, counts statuses."""

    url: str
    max_examples: int
    headers: Mapping[str, str] = field(default_factory=dict)
    statuses: dict[str, set[int]] = field(default_factory=dict)

    def run(self, document: dict[str, Any], modes: Sequence[GenerationMode], free: bool) -> None:
        """Examines each operation; `free`: its names are any, so that 422 is no surprise."""
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=self.url)
        schema.config.checks.negative_data_rejection.expected_statuses = ["4xx"]  # 414 too
        if free:
            expected = ["2xx", "400", "401", "404", "406", "414", "422", "429"]
            schema.config.checks.positive_data_acceptance.expected_statuses = expected
        found: Any  # the type of what went wrong has no `ok`
        for found in schema.get_all_operations():
            for mode in modes:
                assert isinstance(found, Ok)
                with suppress(Unsatisfiable):  # there is no wrong way to ask for /livez
                    self._examine(found.ok(), mode)

    def _examine(self, operation: Any, mode: GenerationMode) -> None:
        @settings(
            max_examples=self.max_examples,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def answer_conforms(case: Case[Any]) -> None:
            response = case.call_and_validate(headers=dict(self.headers))
            self.statuses.setdefault(operation.label, set()).add(response.status_code)

        answer_conforms()


async def examined(
    settings: Settings,
    max_examples: int,
    modes: Sequence[GenerationMode] = tuple(GenerationMode),
    headers: Mapping[str, str] = {},
    narrowings: Sequence[Narrowing] = NARROWINGS,
) -> dict[str, set[int]]:
    """The statuses of every operation, by any requests and by those that must be accepted."""
    async with document_of(settings) as (url, document):
        examination = Examination(url, max_examples, headers)
        await asyncio.to_thread(examination.run, document, modes, free=True)
        examination.statuses.clear()
        for one in narrowings:
            narrowed = one.of(document)
            await asyncio.to_thread(
                examination.run, narrowed, [GenerationMode.POSITIVE], free=False
            )
    return examination.statuses


async def test_answers_are_as_the_document_says(redis_url: str, worker: FakeWorker) -> None:
    """No undocumented status, type or shape, no server error; what is right is accepted.

    A few of the operations; wrong requests of all are in `test_any_request`.
    """
    settings = load_settings(redis_url=redis_url)
    statuses = await examined(settings, max_examples=2, modes=[], narrowings=QUICK)
    assert len(statuses) == len(QUICK)
    assert all(200 in found for found in statuses.values())


@pytest.mark.slow
@pytest.mark.parametrize("with_keys", [False, True])
async def test_answers_are_as_the_document_says_at_length(
    redis_url: str, worker: FakeWorker, with_keys: bool
) -> None:
    """The same with many more requests, and where keys are asked for."""
    key = new_key()
    guarded = {"api_keys": listed("alice", key)} if with_keys else {}
    headers = {"Authorization": f"Bearer {key}"} if with_keys else {}
    settings = load_settings(redis_url=redis_url, **guarded)
    statuses = await examined(settings, max_examples=60, headers=headers)
    assert all(200 in found for found in statuses.values())

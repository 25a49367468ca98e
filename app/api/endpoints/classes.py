"""GET /classes and GET /models: the classes and models that requests can name."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from app.api.documentation import problems, query_parameters
from app.api.requests import query_fields
from app.api.schemas import (
    AttentionLayerOut,
    ClassesFields,
    ClassesOut,
    ClassFields,
    ClassOut,
    ModelOut,
    ModelsOut,
    NoFields,
)
from app.api.services import Services, services_of
from app.errors import (
    AmbiguousClassError,
    InvalidValueError,
    NotFoundError,
    NotReadyError,
    RetiredCheckpointError,
    UnknownClassError,
)
from app.queue.messages import ModelCard

router = APIRouter(tags=["catalogue"])


@router.get(
    "/classes",
    summary="List the classes of a model",
    response_model=ClassesOut,
    responses=problems(InvalidValueError, NotReadyError, RetiredCheckpointError),
    openapi_extra=query_parameters(ClassesFields),
)
async def classes(request: Request) -> ClassesOut:
    """Lists all classes, or those with `q` in a name, alias or WordNet id."""
    services = services_of(request)
    fields = query_fields(request, ClassesFields)
    card = services.model(fields.model)
    labels = services.classes(card).search(fields.q)
    return ClassesOut(model=card.name, classes=[_class(card, label) for label in labels])


@router.get(
    "/classes/{class_key:path}",
    summary="Get one class of a model",
    response_model=ClassOut,
    responses=problems(NotFoundError, InvalidValueError, NotReadyError, RetiredCheckpointError),
    openapi_extra=query_parameters(ClassFields),
)
async def one_class(request: Request, class_key: str) -> ClassOut:
    """Returns the class with this name, alias, WordNet id or index."""
    services = services_of(request)
    fields = query_fields(request, ClassFields)
    card = services.model(fields.model)
    try:
        return _class(card, services.label(card, class_key))
    except (UnknownClassError, AmbiguousClassError) as unknown:
        raise NotFoundError(
            unknown.detail, extra={"suggestions": unknown.extra["suggestions"]}
        ) from None


@router.get(
    "/models",
    summary="List the served checkpoints",
    response_model=ModelsOut,
    responses=problems(InvalidValueError, NotReadyError),
)
async def models(request: Request) -> ModelsOut:
    """Lists all models, and the default for requests that name none."""
    services = services_of(request)
    query_fields(request, NoFields)
    default = services.cards.named()
    return ModelsOut(
        default=default.name, models=[_model(services, card) for card in services.cards.current()]
    )


def _class(card: ModelCard, label: int) -> ClassOut:
    one = card.classes[label]
    return ClassOut(index=label, name=one.name, wnid=one.wnid, aliases=one.aliases)


def _model(services: Services, card: ModelCard) -> ModelOut:
    gammas = card.attention_gammas or (None,) * len(card.attention_grids)
    layers = [
        AttentionLayerOut(index=index, height=height, width=width, gamma=gamma)
        for index, ((height, width), gamma) in enumerate(
            zip(card.attention_grids, gammas, strict=True)
        )
    ]
    return ModelOut(
        name=card.name,
        fingerprint=card.fingerprint,
        resolution=card.resolution,
        num_classes=len(card.classes),
        z_dim=card.z_dim,
        attention_layers=layers,
        renderer=card.renderer,
        licence=card.licence,
        size_bytes=card.size_bytes,
        workers_ready=services.cards.workers_ready(card.fingerprint),
        workers_loaded=services.cards.workers_loaded(card.fingerprint),
        facts=dict(card.facts),
    )

"""The jobs that make the pictures of a request, and what none may ask for."""

from __future__ import annotations

import secrets
from dataclasses import replace

from app.api.services import Services
from app.errors import (
    DeadlineExceededError,
    InvalidValueError,
    JobFailedError,
    NotAcceptableError,
    NotFoundError,
    NotReadyError,
    QueueFullError,
    QueueUnavailableError,
    RateLimitedError,
    RequestTimeoutError,
    RetiredCheckpointError,
    UnknownClassError,
    UnsupportedMediaTypeError,
)
from app.queue.messages import MAX_SEED, ImageId, Job, ModelCard, Output, Priority, new_id
from app.telemetry import request_id

MAX_PIXELS = 2**24  # of all pictures of one request
FIELDS_ERRORS = (  # of a query or a body that says what to draw, and how to answer
    InvalidValueError,
    UnknownClassError,
    NotAcceptableError,
    RequestTimeoutError,
    RetiredCheckpointError,
    UnsupportedMediaTypeError,
)
DRAWING_ERRORS = (
    DeadlineExceededError,
    JobFailedError,
    NotReadyError,
    QueueFullError,
    QueueUnavailableError,
    RateLimitedError,
)


def picture_jobs(
    services: Services,
    card: ModelCard,
    class_key: str,
    *,
    num_images: int,
    seed: int | None,
    class_field: str = "class",
    truncation_thousandths: int | None = None,
    output: Output = "png",
    priority: Priority = "interactive",
) -> list[Job]:
    """A job for each picture of a class; the ith has the first seed plus i.

    `class_field` is where the request names the class.
    Raises UnknownClassError, InvalidValueError.
    """
    first = Job(
        fingerprint=card.fingerprint,
        label=services.classes(card).label(class_key, class_field),
        seed=first_seed(seed, num_images),
        truncation_thousandths=truncation_thousandths,
        output=output,
        priority=priority,
        request_id=request_id.get(),
    )
    if num_images == 1:
        return [first]
    refuse_too_many(services, card, num_images, priority)
    later = range(1, num_images)
    return [first, *(replace(first, seed=first.seed + i, job_id=new_id()) for i in later)]


def first_seed(seed: int | None, num_images: int) -> int:
    """The seed of the first picture: as asked, or one by chance; the ith has that plus i.

    Raises InvalidValueError where the last would have none.
    """
    highest = MAX_SEED + 1 - num_images
    if seed is None:
        return secrets.randbelow(highest + 1)
    if seed > highest:
        raise InvalidValueError(
            f"seed={seed} with n={num_images} goes past the last seed, {MAX_SEED}: "
            f"give a seed up to {highest}",
            extra={"fields": ["seed", "n"]},
        )
    return seed


def refuse_too_many(
    services: Services, card: ModelCard, num_images: int, priority: Priority, field: str = "n"
) -> None:
    """Raises InvalidValueError for more pictures than this server ever makes at once.

    `field` is where the request says how many.
    """
    most = min(services.queue.limit(priority), MAX_PIXELS // card.resolution**2)
    if num_images > most:
        raise InvalidValueError(
            f"{field}={num_images} is more than the {most} pictures of {card.resolution} px that "
            "are made at once",
            extra={"fields": [field]},
        )


def required_class(key: str | None) -> str:
    """The class that the request must give; raises InvalidValueError when it does not."""
    if key is None:
        raise InvalidValueError(
            "class is missing: give a name, alias, WordNet id or index; GET /classes lists them",
            extra={"fields": ["class"]},
        )
    return key


def card_of_image(services: Services, named: ImageId) -> ModelCard:
    """The card of the model that draws this image.

    Raises NotReadyError, NotFoundError, RetiredCheckpointError.
    """
    card = services.cards.of_fingerprint(named.prefix)
    if named.label >= len(card.classes):
        raise NotFoundError(
            f"model {card.name} has {len(card.classes)} classes and none has index {named.label}"
        )
    return card

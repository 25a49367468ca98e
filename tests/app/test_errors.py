"""Errors know how they are answered."""

from __future__ import annotations

from app.errors import (
    WORKER_ERRORS,
    AppError,
    JobFailedError,
    QueueFullError,
    QueueUnavailableError,
    UnknownClassError,
    from_slug,
)


def every_error() -> list[type[AppError]]:
    found, todo = [], [AppError]
    while todo:
        kind = todo.pop()
        found.append(kind)
        todo += kind.__subclasses__()
    return found


def test_every_error_has_a_slug_of_its_own_and_a_status() -> None:
    """A client can tell them apart by either."""
    errors = every_error()
    assert len({error.slug for error in errors}) == len(errors)
    assert all(400 <= error.status < 600 for error in errors)


def test_a_workers_answer_becomes_the_error_it_names() -> None:
    """An unknown slug, of a newer worker perhaps, is a failed job."""
    assert all(type(from_slug(slug, "why")) is kind for slug, kind in WORKER_ERRORS.items())
    assert isinstance(from_slug("new", "why"), JobFailedError)


def test_the_cause_of_an_error_is_for_the_log() -> None:
    """By kind and words, where there is one."""
    error = QueueUnavailableError("the queue does not answer")
    assert error.with_cause == "the queue does not answer"
    error.__cause__ = ConnectionError("refused")
    assert error.with_cause == "the queue does not answer (ConnectionError: refused)"


def test_an_unknown_class_comes_with_suggestions() -> None:
    """In the sentence and as a member."""
    error = UnknownClassError("retriver", ["golden_retriever"])
    assert error.detail == "no class is called 'retriver'; did you mean golden_retriever?"
    assert error.extra["suggestions"] == ["golden_retriever"]


def test_a_full_queue_tells_depth_limit_and_when_to_come_back() -> None:
    """Numbers, not adjectives."""
    error = QueueFullError(500, 512, retry_after_s=7)
    assert (error.extra["depth"], error.extra["limit"], error.retry_after_s) == (500, 512, 7)

"""Which calls are sent again, when, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
)

from app.client.problems import NoAnswerError, UnknownProblemError
from app.errors import AppError, RequestInFlightError

REFUSED = (429, 503)  # the server has done nothing
_growing = wait_exponential(multiplier=0.5, max=10)


@dataclass(frozen=True)
class Retries:
    """How often a call is tried, and how long all waits of it may take together.

    Refusals (429 and 503) are tried again after their Retry-After. A lost connection is tried again
    only if that cannot have a second effect: a seed is given, the call changes nothing, or it has
    an Idempotency-Key. If the next wait would exceed `max_wait_s`, the error is raised at once.
    """

    max_tries: int = 5
    max_wait_s: float = 60.0

    def sync(self, *, repeatable: bool) -> Retrying:
        """Runs one call; it may be repeated after a lost connection if it is `repeatable`."""
        return Retrying(**self._options(repeatable))

    def asynchronous(self, *, repeatable: bool) -> AsyncRetrying:
        """The same for coroutines."""
        return AsyncRetrying(**self._options(repeatable))

    def _options(self, repeatable: bool) -> dict[str, Any]:
        return {
            "retry": retry_if_exception(partial(_is_worth_it, repeatable)),
            "wait": _wait_s,
            "stop": stop_after_attempt(self.max_tries) | stop_before_delay(self.max_wait_s),
            "reraise": True,
        }


NO_RETRIES = Retries(max_tries=1)


def _is_worth_it(repeatable: bool, error: BaseException) -> bool:
    if isinstance(error, (NoAnswerError, RequestInFlightError)):
        return repeatable
    if isinstance(error, UnknownProblemError):
        return error.status_code in REFUSED
    return isinstance(error, AppError) and error.status in REFUSED


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, AppError) and error.retry_after_s is not None:
        return error.retry_after_s
    return float(_growing(state))

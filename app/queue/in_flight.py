"""InFlight: a job that one API replica waits for."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from app.errors import from_slug
from app.queue.messages import Job, Reply


def _new_answer() -> asyncio.Future[Reply]:
    return asyncio.get_running_loop().create_future()


@dataclass(frozen=True)
class InFlight:
    """A job that is to be admitted, or was, and is not answered yet."""

    job: Job
    deadline_s: float  # by this process's monotonic clock
    answer: asyncio.Future[Reply] = field(default_factory=_new_answer)

    @property
    def left_ms(self) -> int:
        """How much of its time is left; 0 or less when it is up."""
        return round((self.deadline_s - time.monotonic()) * 1000)

    @property
    def unanswered(self) -> bool:
        """Whether no reply has come, be it waited for or not."""
        return self.answer.cancelled() or not self.answer.done()

    def take(self, reply: Reply) -> None:
        """Ends the wait with the reply or the error that it tells."""
        if reply.error is None:
            self.answer.set_result(reply)
        else:
            self.answer.set_exception(from_slug(reply.error, reply.detail))

    def leave(self) -> None:
        """Nobody waits any more."""
        if not self.answer.cancel() and not self.answer.cancelled():
            self.answer.exception()  # else asyncio logs a failure that nobody was told of

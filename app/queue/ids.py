"""Ids of jobs, requests and leases."""

from __future__ import annotations

import os
from random import Random

_random = Random()  # noqa: S311 - seeded by the system: an id must be new, and is no secret
os.register_at_fork(after_in_child=_random.seed)


def new_id() -> str:
    """An id that nothing else has, in any process."""
    return f"{_random.getrandbits(128):032x}"

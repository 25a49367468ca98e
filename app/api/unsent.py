"""UnsentBytes: a bound on the bytes of responses that all clients together have not read."""

from __future__ import annotations

from typing import Protocol

SMALL_BYTES = 16 * 1024  # of a response that is sent in any case: probes, problems, lists
USUAL_BYTES = (
    256 * 1024
)  # of a response; with less room nothing is drawn, since it would be in vain


class Holder(Protocol):
    """Holds bytes for a client: a connection, or a response on its way to one."""

    def num_unsent(self) -> int:
        """Bytes that it holds in this process's memory."""


class UnsentBytes:
    """Counts the bytes in this process that clients have not read yet, and bounds them.

    A client that reads nothing keeps its response here for UNREAD_TIMEOUT_S; many such clients must
    not use up the memory that responses to other clients need.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._holders: set[Holder] = set()
        self._at_most = 0  # what was added since the last count; more than there is

    def add(self, holder: Holder, num_bytes: int) -> None:
        """Notes that `holder` has received this many bytes."""
        self._holders.add(holder)
        self._at_most += num_bytes

    def discard(self, holder: Holder) -> None:
        """Forgets a holder that has no more bytes."""
        self._holders.discard(holder)

    def has_room(self, num_bytes: int) -> bool:
        """Whether a response of this size may be sent; one up to SMALL_BYTES always may."""
        if num_bytes <= SMALL_BYTES or self._at_most + num_bytes <= self.max_bytes:
            return True
        return self.count() + num_bytes <= self.max_bytes

    def count(self) -> int:
        """The bytes that wait now."""
        held = {holder: holder.num_unsent() for holder in self._holders}
        self._holders = {holder for holder, num_bytes in held.items() if num_bytes}
        self._at_most = sum(held.values())
        return self._at_most

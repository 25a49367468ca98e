"""ClaimShares: which streams a worker claims from, and how much of a claim each may fill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.queue.admission import stream_key
from app.queue.messages import PRIORITIES

BULK_SHARE = 0.25  # of what is claimed, while interactive jobs wait too


class ClaimShares:
    """The streams of some models. While both priorities wait, bulk jobs get `BULK_SHARE`.

    Interactive jobs get the rest, and either gets all while the other has none. The share holds
    over many small claims as it does in a large one; models of one priority take turns.
    """

    def __init__(self, fingerprints: Sequence[str]) -> None:
        self.fingerprints: list[str] = []
        self.streams: list[str] = []  # all of them, a model's interactive one before its bulk one
        self._bulk_images = 0.0  # that bulk jobs may claim before interactive ones
        self._turn = 0
        for fingerprint in fingerprints:
            self.add(fingerprint)

    def add(self, fingerprint: str) -> None:
        """Claims jobs of this model too."""
        if fingerprint not in self.fingerprints:
            self._serve([*self.fingerprints, fingerprint])

    def remove(self, fingerprint: str) -> None:
        """Claims no more jobs of this model."""
        self._serve([other for other in self.fingerprints if other != fingerprint])

    def _serve(self, fingerprints: list[str]) -> None:
        self.fingerprints = fingerprints
        self.streams = [stream_key(name, p) for name in fingerprints for p in PRIORITIES]

    def plan(self, max_images: int) -> list[tuple[str, int]]:
        """The reads of one claim in their order: a stream, and the most that it gives then.

        Who carries it out stops at `max_images`, tells `took_bulk`, and asks anew.
        """
        earned = self._bulk_images + max_images * BULK_SHARE
        self._bulk_images = min(earned, max(1.0, max_images * BULK_SHARE))
        self._turn += 1
        first = self._turn % max(1, len(self.fingerprints))
        models = self.fingerprints[first:] + self.fingerprints[:first]
        interactive = [stream_key(model, "interactive") for model in models]
        bulk = [stream_key(model, "bulk") for model in models]
        return [
            *_divided(bulk, int(self._bulk_images)),
            *_divided(interactive, max_images),
            *((stream, max_images) for stream in (*interactive, *bulk)),
        ]

    def took_bulk(self, num_images: int) -> None:
        """Counts so many bulk images as claimed."""
        self._bulk_images = max(0.0, self._bulk_images - num_images)


def _divided(streams: Sequence[str], num_images: int) -> Iterator[tuple[str, int]]:
    """An equal part for each; the first ones have what is left over."""
    for place, stream in enumerate(streams):
        if part := (num_images + len(streams) - 1 - place) // len(streams):
            yield stream, part

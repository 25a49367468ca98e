"""ImageCache: rendered pictures of this replica, the least recently used forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

DEFAULT_MAX_BYTES = 64 * 1024 * 1024
OVERHEAD_BYTES = 512  # what an entry costs beside its body, roughly


@dataclass(frozen=True)
class Picture:
    """A finished body; the entity tag it is kept under names its bytes for good."""

    body: bytes
    media_type: str

    @property
    def size_bytes(self) -> int:
        """What it counts in the cache."""
        return len(self.body) + OVERHEAD_BYTES


class ImageCache:
    """Pictures by entity tag, at most `max_bytes` of them together."""

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._pictures: OrderedDict[str, Picture] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pictures)

    def get(self, etag: str) -> Picture | None:
        """The picture of this tag, which becomes the most recently used."""
        picture = self._pictures.get(etag)
        if picture is not None:
            self._pictures.move_to_end(etag)
        return picture

    def put(self, etag: str, picture: Picture) -> None:
        """Keeps a picture, unless it alone is larger than the cache; makes room for it."""
        if picture.size_bytes > self.max_bytes:
            return
        if (former := self._pictures.pop(etag, None)) is not None:
            self.size_bytes -= former.size_bytes
        self._pictures[etag] = picture
        self.size_bytes += picture.size_bytes
        while self.size_bytes > self.max_bytes:
            _, forgotten = self._pictures.popitem(last=False)
            self.size_bytes -= forgotten.size_bytes

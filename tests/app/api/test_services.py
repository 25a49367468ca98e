"""The cache of rendered pictures: bounded in bytes, least recently used forgotten first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.api.services import OVERHEAD_BYTES, EncodedFile, ImageCache


def picture(num_bytes: int = 100) -> EncodedFile:
    return EncodedFile(b"x" * num_bytes, "image/png")


def test_the_least_recently_used_is_forgotten_first() -> None:
    """A look counts as use."""
    cache = ImageCache(max_bytes=2 * (100 + OVERHEAD_BYTES))
    cache.put("a", picture())
    cache.put("b", picture())
    assert cache.get("a")
    cache.put("c", picture())
    assert cache.get("b") is None
    assert cache.get("a")
    assert cache.get("c")


def test_a_picture_larger_than_the_cache_is_not_kept() -> None:
    """And throws nothing else out."""
    cache = ImageCache(max_bytes=1000)
    cache.put("a", picture())
    cache.put("b", picture(1000))
    assert cache.get("b") is None
    assert cache.get("a")


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 900)), max_size=40))
def test_the_bytes_never_exceed_the_bound(puts: list[tuple[str, int]]) -> None:
    """And are counted right whatever is replaced and forgotten."""
    cache = ImageCache(max_bytes=3000)
    for tag, num_bytes in puts:
        cache.put(tag, picture(num_bytes))
    kept = [found for tag in "abcdef" if (found := cache.get(tag))]
    assert len(kept) == len(cache)
    assert cache.size_bytes == sum(len(one.body) + OVERHEAD_BYTES for one in kept) <= 3000

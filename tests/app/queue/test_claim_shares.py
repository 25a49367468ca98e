"""How a claim is divided: interactive jobs first, bulk ones never starved, models in turn."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from app.queue.admission import stream_key
from app.queue.claim_shares import BULK_SHARE, ClaimShares

A, B = "aa" * 32, "bb" * 32


def claim(shares: ClaimShares, waiting: Counter[str], max_images: int) -> Counter[str]:
    """Carries out a plan as the script does."""
    taken: Counter[str] = Counter()
    for stream, most in shares.plan(max_images):
        num = min(most, waiting[stream], max_images - taken.total())
        taken[stream] += num
        waiting[stream] -= num
    shares.took_bulk(sum(num for stream, num in taken.items() if stream.endswith(":bulk")))
    return taken


def test_while_both_wait_bulk_jobs_get_their_share() -> None:
    """A quarter of a large claim."""
    waiting = Counter({stream_key(A): 100, stream_key(A, "bulk"): 100})
    taken = claim(ClaimShares([A]), waiting, 16)
    assert taken == Counter({stream_key(A): 12, stream_key(A, "bulk"): 4})


@settings(max_examples=25)
@given(st.lists(st.integers(1, 20), min_size=40, max_size=60))
def test_the_share_holds_over_claims_of_any_sizes(sizes: list[int]) -> None:
    """Claims of one image too; neither less nor much more."""
    shares, waiting = ClaimShares([A]), Counter({stream_key(A): 9999, stream_key(A, "bulk"): 9999})
    taken: Counter[str] = Counter()
    for size in sizes:
        taken += claim(shares, waiting, size)
    assert taken.total() == sum(sizes)
    assert abs(taken[stream_key(A, "bulk")] - BULK_SHARE * sum(sizes)) <= 0.1 * sum(sizes) + 2


def test_either_priority_gets_all_while_the_other_has_none() -> None:
    """An idle device is nobody's share, and what was not claimed is not owed for ever."""
    shares = ClaimShares([A])
    for _ in range(50):
        assert claim(shares, Counter({stream_key(A): 99}), 8).total() == 8
    waiting = Counter({stream_key(A): 99, stream_key(A, "bulk"): 99})
    assert claim(shares, waiting, 8)[stream_key(A, "bulk")] <= 2
    assert claim(shares, Counter({stream_key(A, "bulk"): 99}), 8).total() == 8


def test_models_of_one_priority_share_and_take_turns() -> None:
    """Also where a claim has room for one of them only."""
    shares = ClaimShares([A, B])
    waiting = Counter({stream_key(A): 99, stream_key(B): 99})
    assert claim(shares, waiting, 8) == Counter({stream_key(A): 4, stream_key(B): 4})
    taken = claim(shares, waiting, 1) + claim(shares, waiting, 1)
    assert taken == Counter({stream_key(A): 1, stream_key(B): 1})


def test_a_model_that_is_removed_is_claimed_no_more() -> None:
    """The others stay, in both priorities."""
    shares = ClaimShares([A])
    shares.add(B)
    shares.add(B)
    shares.remove(A)
    assert shares.streams == [stream_key(B), stream_key(B, "bulk")]
    assert {stream for stream, _ in shares.plan(8)} == set(shares.streams)

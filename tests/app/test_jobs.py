"""Encoding of jobs, replies and cards; how batches form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs import (
    Claimed,
    DecodeError,
    Job,
    ModelCard,
    ModelClass,
    Reply,
    Timings,
    decode_card,
    decode_job,
    decode_reply,
    take_batch,
)

FINGERPRINT = "ab" * 32
points = st.tuples(st.integers(0, 511), st.integers(0, 511))
jobs = st.one_of(
    st.builds(
        Job,
        fingerprint=st.just(FINGERPRINT),
        label=st.integers(0, 999),
        seed=st.integers(0, 2**32 - 1),
        truncation_thousandths=st.none() | st.integers(1, 4000),
        output=st.sampled_from(["png", "raw"]),
        request_id=st.none() | st.text(max_size=20),
    ),
    st.builds(
        Job,
        kind=st.just("attention"),
        fingerprint=st.just(FINGERPRINT),
        label=st.integers(0, 999),
        seed=st.integers(0, 2**32 - 1),
        output=st.sampled_from(["png", "json", "npy"]),
        queries=st.lists(points, min_size=1, max_size=8).map(tuple),
        view=st.sampled_from(["overlay", "heatmap", "pair"]),
        size_px=st.none() | st.integers(16, 1024),
    ),
)


@given(jobs)
def test_a_job_survives_its_encoding(job: Job) -> None:
    """What a worker reads equals what an API wrote."""
    assert decode_job(job.encode()) == job


@given(st.binary(max_size=200))
def test_a_reply_survives_its_encoding(body: bytes) -> None:
    """The body is carried as it is."""
    reply = Reply("id", "image/png", body, timings=Timings(0.1, 0.2, 0.3, 0.4), batch_size=3)
    assert decode_reply(reply.encode_head(), body) == reply
    refusal = Reply("id", error="job-failed", detail="why")
    assert decode_reply(refusal.encode_head(), b"") == refusal
    assert not refusal.ok


def test_a_model_card_survives_its_encoding() -> None:
    """Tuples come back as tuples."""
    card = ModelCard(
        name="dogs",
        fingerprint=FINGERPRINT,
        resolution=128,
        classes=(ModelClass("cat"), ModelClass("dog", "n02084071", ("hound", "cur"))),
        attention_grids=((16, 16), (32, 32)),
        renderer="cpu-float32-png1",
        z_dim=128,
        licence="CC0-1.0",
        facts={"num_images": 1000, "fid": 20.5},
    )
    assert decode_card(card.encode()) == card


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[]", b"{}", b'{"queries": 1}', Job("f", 0, 0).encode().replace(b"png", b"x")],
)
def test_what_is_not_a_job_is_an_error(data: bytes) -> None:
    """Of one class, whatever is wrong with it."""
    with pytest.raises(DecodeError, match="not a job"):
        decode_job(data)


def test_a_job_with_a_wrong_combination_cannot_be_made() -> None:
    """The mistake shows where it is made, not in a worker."""
    with pytest.raises(ValueError, match="no output 'json'"):
        Job(FINGERPRINT, 0, 0, output="json")
    with pytest.raises(ValueError, match="0 queries"):
        Job(FINGERPRINT, 0, 0, kind="attention")


def claimed(seed: int, kind: str = "s", launches: int = 0, fingerprint: str = "a") -> Claimed:
    if kind == "a":
        job = Job(fingerprint, 0, seed, kind="attention", queries=((0, 0),))
    else:
        job = Job(fingerprint, 0, seed)
    return Claimed(job, "stream", f"{seed}-0", "replies", 0, 0, launches)


def seeds(jobs: list[Claimed]) -> list[int]:
    return [claimed.job.seed for claimed in jobs]


def test_a_batch_never_exceeds_the_image_budget() -> None:
    """The rest keeps its order."""
    batch, rest = take_batch([claimed(seed) for seed in range(5)], 3)
    assert (seeds(batch), seeds(rest)) == ([0, 1, 2], [3, 4])
    assert take_batch([], 3) == ([], [])


def test_samples_of_one_model_run_together_past_others() -> None:
    """Nobody waits for ever: the head of the queue is in the batch."""
    queue = [claimed(0), claimed(1, "a"), claimed(2, fingerprint="b"), claimed(3)]
    batch, rest = take_batch(queue, 8)
    assert (seeds(batch), seeds(rest)) == ([0, 3], [1, 2])
    batch, rest = take_batch(rest, 8)
    assert (seeds(batch), seeds(rest)) == ([1], [2])


def test_a_job_that_was_launched_without_an_answer_runs_alone() -> None:
    """If it kills its worker again, it kills nobody's job but its own."""
    batch, rest = take_batch([claimed(0, launches=1), claimed(1), claimed(2, launches=1)], 8)
    assert (seeds(batch), seeds(rest)) == ([0], [1, 2])
    batch, rest = take_batch(rest, 8)
    assert (seeds(batch), seeds(rest)) == ([1], [2])

"""Encoding of jobs, replies and cards."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidValueError
from app.queue.messages import (
    PRIORITIES,
    DecodeError,
    ImageId,
    Job,
    ModelCard,
    ModelClass,
    Reply,
    Timings,
    WorkerStatus,
    decode_card,
    decode_job,
    decode_reply,
    decode_status,
    format_image_id,
    parse_image_id,
)
from class_names import mix_of

FINGERPRINT = "ab" * 32
mixes = st.dictionaries(st.integers(0, 999), st.integers(1, 10**6), min_size=2, max_size=3).map(
    lambda weights: mix_of(weights.items())
)
points = st.tuples(st.integers(0, 511), st.integers(0, 511))
jobs = st.one_of(
    st.builds(
        Job,
        fingerprint=st.just(FINGERPRINT),
        label=st.integers(0, 999),
        mix=st.just(()),
        seed=st.integers(0, 2**32 - 1),
        truncation_thousandths=st.none() | st.integers(1, 4000),
        attention_scale_thousandths=st.just(1000) | st.integers(0, 2000),
        output=st.sampled_from(["png", "raw"]),
        priority=st.sampled_from(PRIORITIES),
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
two_or_three = mixes.filter(lambda mix: len(mix) > 1)
mixed_jobs = st.builds(lambda job, mix: replace(job, label=mix[0][0], mix=mix), jobs, two_or_three)
image_ids = st.builds(
    ImageId,
    prefix=st.text("0123456789abcdef", min_size=12, max_size=12),
    label=st.integers(0, 10**10 - 1),
    seed=st.integers(0, 2**32 - 1),
    truncation_thousandths=st.none() | st.integers(1, 4000),
    attention_scale_thousandths=st.integers(0, 2000),
)


@given(jobs | mixed_jobs)
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


def test_a_worker_status_survives_its_encoding() -> None:
    """With all that a heartbeat carries."""
    status = WorkerStatus((FINGERPRINT,), "cpu", 1, 2.5)
    assert decode_status(status.encode()) == status


@pytest.mark.parametrize(
    ("encoded", "decode"),
    [
        (Job(FINGERPRINT, 0, 1).encode(), decode_job),
        (Reply("id").encode_head(), lambda head: decode_reply(head, b"")),
        (ModelCard("a", "b", 4, (), (), "cpu", 8).encode(), decode_card),
        (WorkerStatus((), "cpu", 1).encode(), decode_status),
    ],
)
def test_members_that_only_a_newer_version_knows_are_ignored(
    encoded: bytes, decode: Callable[[bytes], object]
) -> None:
    """So that replicas and workers of two versions can share a queue while one is rolled out."""
    newer = json.dumps(json.loads(encoded) | {"temperature": [70, {"unit": "C"}]}).encode()
    assert decode(newer) == decode(encoded)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"fingerprints": 3, "device": "cpu", "pid": 1}',
        b'{"fingerprints": []}',
        b'{"fingerprints": [], "device": "cpu", "pid": 1, "images_per_s": "fast"}',
    ],
)
def test_what_is_not_a_worker_status_is_an_error(data: bytes) -> None:
    """Of the same class."""
    with pytest.raises(DecodeError):
        decode_status(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"queries": 1}',
        Job("f", 0, 0, output="webp", job_id="1" * 32).encode().replace(b"webp", b"x"),
    ],
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
    with pytest.raises(ValueError, match="leads from class to class"):
        Job(FINGERPRINT, 0, 0, kind="frame", mix=((0, 500), (1, 500)))
    for mix in (((1, 500), (0, 500)), ((0, 1000),), ((0, 600), (1, 600)), ((0, 1001), (1, -1))):
        with pytest.raises(ValueError, match="is not how a mix of class 0 is written"):
            Job(FINGERPRINT, 0, 0, mix=mix)


@given(
    image_ids
    | st.builds(lambda one, mix: replace(one, label=mix[0][0], mix=mix), image_ids, two_or_three)
)
def test_an_image_id_survives_its_spelling(image_id: ImageId) -> None:
    """Format and parse are inverse."""
    assert parse_image_id(str(image_id)) == image_id


@given(
    st.from_regex(
        r"[0-9a-f]{12}-([0-9]{1,3}|[0-9]x[0-9]{3}_[0-9]x[0-9]{3})-[0-9]{1,11}-(n|[0-9]{1,5})"
        r"(-a[0-9]{1,5})?",
        fullmatch=True,
    )
)
def test_what_parses_is_spelt_in_the_one_way(text: str) -> None:
    """No other spelling of a value is accepted."""
    try:
        parsed = parse_image_id(text)
    except InvalidValueError:
        return
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abcdefabcdef-1-2",
        "abcdefabcde-1-2-n",
        "ABCDEFABCDEF-1-2-n",
        "abcdefabcdef-01-2-n",
        "abcdefabcdef-1-+2-n",
        "abcdefabcdef--1-2-n",
        "abcdefabcdef-1-2-0",
        "abcdefabcdef-1-2-4001",
        "abcdefabcdef-1-4294967296-n",
        "abcdefabcdef-1-٣-n",
        "abcdefabcdef-1-2-n\n",
        "abcdefabcdef-1-2-n-a",
        "abcdefabcdef-1x1000-2-n",
        "abcdefabcdef-1x500-2-n",
        "abcdefabcdef-1x500_2x400-2-n",
        "abcdefabcdef-1x400_2x600-2-n",
        "abcdefabcdef-2x500_1x500-2-n",
        "abcdefabcdef-1x500_1x500-2-n",
        "abcdefabcdef-1x600_2x400_3x0-2-n",
        "abcdefabcdef-1x0600_2x400-2-n",
        "abcdefabcdef-1x400_2x300_3x200_4x100-2-n",
        "abcdefabcdef-1-2-n-a1000",
        "abcdefabcdef-1-2-n-a0500",
        "abcdefabcdef-1-2-n-a2001",
        "abcdefabcdef-1-2-n-500",
    ],
)
def test_a_malformed_image_id_is_an_invalid_value(text: str) -> None:
    """Leading zeros, signs, other digits and values out of range among them."""
    with pytest.raises(InvalidValueError):
        parse_image_id(text)


def test_an_image_id_has_twelve_digits_of_the_fingerprint() -> None:
    """The whole fingerprint is shortened."""
    assert format_image_id("0123456789abcdef" * 4, 3, 5, 700) == "0123456789ab-3-5-700"


def test_an_image_id_ends_in_an_attention_scale_other_than_one() -> None:
    """The ids of images of scale 1 are those that were given out before there were scales."""
    job = Job("0123456789abcdef" * 4, 3, 5, 700)
    assert job.image_id == "0123456789ab-3-5-700"
    assert replace(job, attention_scale_thousandths=500).image_id == "0123456789ab-3-5-700-a500"
    assert parse_image_id("0123456789ab-3-5-700").attention_scale_thousandths == 1000
    assert parse_image_id("0123456789ab-3-5-n-a0").attention_scale_thousandths == 0


def test_a_job_has_the_format_version_that_its_members_need() -> None:
    """A worker that knows no attention scale refuses a job with one, and reads all others."""
    plain = Job(FINGERPRINT, 0, 1)
    scaled = replace(plain, attention_scale_thousandths=500)
    assert (plain.version, scaled.version) == (1, 2)
    assert replace(scaled, attention_scale_thousandths=1000).version == 1
    assert "version" not in json.loads(plain.encode())
    members = json.loads(scaled.encode())
    assert (members["attention_scale_thousandths"], members["version"]) == (500, 2)
    assert decode_job(scaled.encode()) == scaled

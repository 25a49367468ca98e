"""A corpus of messages as earlier versions wrote them: today's code reads and writes the same.

Where today's code wrote another text for one of these, a replica or worker of the recorded version
might not read it: change the format only by members that have a default, and add to the corpus.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from app.queue.messages import (
    FormatVersionError,
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
)

FINGERPRINT = "ab" * 32
JOB = (
    f'{{"fingerprint":"{FINGERPRINT}","label":1,"seed":7,"truncation_thousandths":500,'
    '"kind":"attention","queries":[[1,2]],"priority":"bulk","request_id":"r","job_id":"j"}'
)
REPLY = (
    '{"job_id":"j","media_type":"image/png","error":null,"detail":"","timings":{"queue_s":0.5,'
    '"batch_s":0.0,"model_s":0.0,"encode_s":0.0},"batch_size":2,"renderer":"cpu"}'
)
CARD = (
    f'{{"name":"m","fingerprint":"{FINGERPRINT}","resolution":64,"classes":[{{"name":"cat",'
    '"wnid":"n1","aliases":["tom"]}],"attention_grids":[[8,8]],"renderer":"cpu","z_dim":128,'
    '"licence":null,"facts":{"images":3}}'
)
CARD_WITH_GAMMA = CARD.replace('"facts"', '"attention_gammas":[-0.25],"facts"')
STATUS = f'{{"fingerprints":["{FINGERPRINT}"],"device":"cpu","pid":1,"images_per_s":2.5}}'
SCALED_JOB = (
    f'{{"fingerprint":"{FINGERPRINT}","label":1,"seed":7,"attention_scale_thousandths":500,'
    '"job_id":"j","version":2}'
)
MIXED_JOB = (
    f'{{"fingerprint":"{FINGERPRINT}","label":5,"seed":7,"mix":[[5,600],[1,200],[2,200]],'
    '"job_id":"j","version":3}'
)
MESSAGES = [
    (
        JOB,
        Job(
            FINGERPRINT, 1, 7, 500, "attention", queries=((1, 2),), priority="bulk",
            request_id="r", job_id="j",
        ),
        decode_job,
    ),
    (
        REPLY,
        Reply("j", timings=Timings(0.5), batch_size=2, renderer="cpu"),
        lambda data: decode_reply(data, b""),
    ),
    (
        CARD,
        ModelCard(
            "m", FINGERPRINT, 64, (ModelClass("cat", "n1", ("tom",)),), ((8, 8),), "cpu", 128,
            facts={"images": 3},
        ),
        decode_card,
    ),
    (STATUS, WorkerStatus((FINGERPRINT,), "cpu", 1, 2.5), decode_status),
    (
        CARD_WITH_GAMMA,
        ModelCard(
            "m", FINGERPRINT, 64, (ModelClass("cat", "n1", ("tom",)),), ((8, 8),), "cpu", 128,
            facts={"images": 3}, attention_gammas=(-0.25,),
        ),
        decode_card,
    ),
]  # fmt: skip
KINDS = ["job", "reply", "card", "status", "card-with-gamma"]
# Once written, and not any more.
FORMER_STATUS = (
    f'{{"fingerprints": ["{FINGERPRINT}"], "device": "cpu", "pid": 1, "num_images": 3, '
    '"images_per_s": 2.5}'
)


@pytest.mark.parametrize(("recorded", "message", "decode"), MESSAGES, ids=KINDS)
def test_a_recorded_message_is_read_and_written_as_ever(recorded, message, decode) -> None:  # type: ignore[no-untyped-def]
    """Yesterday's writer with today's reader, and today's writer with yesterday's reader."""
    assert decode(recorded.encode()) == message
    written = message.encode_head() if isinstance(message, Reply) else message.encode()
    assert json.loads(written) == json.loads(recorded)


def test_a_recorded_job_with_an_attention_scale_is_read_and_written_as_ever() -> None:
    """It has version 2, because a reader of version 1 would draw it without its scale."""
    job = Job(FINGERPRINT, 1, 7, attention_scale_thousandths=500, job_id="j")
    assert decode_job(SCALED_JOB.encode()) == job
    assert json.loads(job.encode()) == json.loads(SCALED_JOB)


def test_a_recorded_job_with_a_mix_of_classes_is_read_and_written_as_ever() -> None:
    """It has version 3, with a scale too: an earlier reader would draw its first class alone."""
    job = Job(FINGERPRINT, 5, 7, mix=((5, 600), (1, 200), (2, 200)), job_id="j")
    assert decode_job(MIXED_JOB.encode()) == job
    assert json.loads(job.encode()) == json.loads(MIXED_JOB)
    assert replace(job, attention_scale_thousandths=500).version == 3


def test_a_status_with_a_member_that_is_gone_is_read() -> None:
    """Workers of a former version counted their images."""
    assert decode_status(FORMER_STATUS.encode()) == WorkerStatus((FINGERPRINT,), "cpu", 1, 2.5)


@pytest.mark.parametrize(("recorded", "message", "decode"), MESSAGES, ids=KINDS)
def test_a_member_that_only_a_newer_version_knows_is_passed_over(  # type: ignore[no-untyped-def]
    recorded, message, decode
) -> None:
    """Workers are upgraded before replicas."""
    newer = json.loads(recorded) | {"of_tomorrow": {"any": 1}, "version": 1}
    assert decode(json.dumps(newer).encode()) == message


@pytest.mark.parametrize(("recorded", "message", "decode"), MESSAGES, ids=KINDS)
def test_a_message_of_another_format_version_is_refused_in_a_sentence(  # type: ignore[no-untyped-def]
    recorded, message, decode
) -> None:
    """Also where its members look like those of this version, or like nothing that it knows."""
    members = json.loads(recorded)
    assert message.version == 1
    newest = 3 if isinstance(message, Job) else 1
    told = rf"has format version {newest + 1}, .* reads version {newest}"
    for newer in (members, {"job_id": "j"}):
        with pytest.raises(FormatVersionError, match=told):
            decode(json.dumps(newer | {"version": newest + 1}).encode())

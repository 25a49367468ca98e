"""Every key that the service holds in Redis.

All begin with `{sagan}`, one hash tag, so that all keys of a script live on one node of a cluster.

jobs:FINGERPRINT:PRIORITY  stream: jobs that were admitted and are not answered yet, with the fields
                           job (JSON), job_id, deadline_ms, reply_to (a key), admitted_us
seen:JOB_ID                string: the entry of the job, or `cancelled US`; while it exists, no job
                           of this id is admitted; expires 1 minute after the job's deadline, or 2
                           minutes after it was cancelled before its admission
launches                   hash: job id -> how many workers launched it without a reply; expires 1
                           hour after the last launch of any job
replies:REPLICA            stream: replies to one API replica, with the fields head (JSON) and body
                           or body_key; expires SAGAN_REPLY_TTL_S after the replica's end
replica:REPLICA            string: exists while Redis has what the replica admitted; expires when
                           replies:REPLICA expires
body:JOB_ID                string: a body too large for the stream; expires SAGAN_REPLY_TTL_S after
                           it was written
dead-letters               stream: the newest jobs that workers gave up (about 1,000), with the
                           fields job_id, why, launches, job
workers                    hash: worker id -> `MS STATUS`, its last heartbeat and status (JSON);
                           a field is deleted 1 minute after its heartbeat
cards                      hash: fingerprint -> model card (JSON), which says whether the model was
                           removed; a field, and the model's empty job streams, are deleted 7 days
                           after the model's last heartbeat
cards-seen                 hash: fingerprint -> MS of the model's last heartbeat; a field is deleted
                           together with the model's card
renderer:FINGERPRINT       string: the renderer that all workers of the model have; expires
                           SAGAN_RENDERER_TTL_S after the model's last heartbeat
budget:CLIENT              string: US at which the client's budget is full; expires then
in-flight:CLIENT           sorted set: `NUM_IMAGES:LEASE` -> MS at which the lease ends
spent:CLIENT               sorted set: `NUM_IMAGES:LEASE` -> MS until which its images can be given
                           back to the client's budget; about 1,000 at most
void:NUM_IMAGES:LEASE      string: forbids a spending to which the API got no reply, in case Redis
                           receives it later; expires 2 minutes after it was written
orders                     sorted set: id of an order that has not ended -> US of its admission, or
                           of the time when it was moved behind all others
order:ID                   hash: an order (JSON) and its state; all keys of the order
                           expire SAGAN_JOB_TTL_S after its admission or, if it has ended, its end
order-drawn:ID             string: a bit for each chunk of the order that was drawn
order-files:ID             hash: chunk -> the files of its images, one after the other
order-read:ID              set: chunks whose files a client has received, so that they may go
order-wanted:ID            sorted set: chunk that a reader waits for -> MS until which it waits
orders-ended               sorted set: order id -> MS of its end; the newest 1,000
orders-kept                hash: order id -> bytes of its files; a field is deleted with the files
order-webhooks             sorted set: order id -> MS at which its webhook is sent
order-key:CLIENT:DIGEST    string: a request and the order that it made, by its Idempotency-Key

MS and US are milliseconds and microseconds by Redis's clock. Workers read the job streams as
consumers of the group `workers`: an entry is pending for the worker that claimed it until one
script writes the job's reply, acknowledges the entry and deletes it. A spending subtracts one
request's images from its client's budget, and its lease is the time during which these images
count as in flight; LEASE is the id of the spending and of its lease. (An order's lease is another
thing: the time during which one replica alone may draw it.)
"""

from __future__ import annotations

from functools import lru_cache

from app.queue.messages import Priority

KEY_PREFIX = "{sagan}"
JOBS = f"{KEY_PREFIX}:jobs:"  # what the job streams begin with
# What the keys of one job begin with; its id follows. Every job needs them: no call makes them.
SEEN = f"{KEY_PREFIX}:seen:"  # exists while no job of this id may be admitted
BODY = f"{KEY_PREFIX}:body:"  # the body of a reply that is too large for the reply stream
LAUNCHES = f"{KEY_PREFIX}:launches"
DEAD_LETTERS = f"{KEY_PREFIX}:dead-letters"
WORKERS = f"{KEY_PREFIX}:workers"
CARDS = f"{KEY_PREFIX}:cards"
CARDS_SEEN = f"{KEY_PREFIX}:cards-seen"
ORDERS = f"{KEY_PREFIX}:orders"  # those that have not ended
ORDERS_ENDED = f"{KEY_PREFIX}:orders-ended"
ORDERS_KEPT = f"{KEY_PREFIX}:orders-kept"
ORDER_WEBHOOKS = f"{KEY_PREFIX}:order-webhooks"
GROUP = "workers"  # the consumer group of every job stream


@lru_cache(maxsize=1024)
def stream_key(fingerprint: str, priority: Priority = "interactive") -> str:
    """The stream of the jobs of one model and priority."""
    return f"{JOBS}{fingerprint}:{priority}"


def replies_key(replica_id: str) -> str:
    """The stream of the replies to one API replica."""
    return f"{KEY_PREFIX}:replies:{replica_id}"


def replica_key(replica_id: str) -> str:
    """A key that exists while Redis has not lost the jobs that this API replica admitted."""
    return f"{KEY_PREFIX}:replica:{replica_id}"


def renderer_key(fingerprint: str) -> str:
    """The renderer that all workers of a model have."""
    return f"{KEY_PREFIX}:renderer:{fingerprint}"


def budget_key(client: str) -> str:
    """When the budget of a rate-limited client is full again."""
    return f"{KEY_PREFIX}:budget:{client}"


def in_flight_key(client: str) -> str:
    """The requests of a client that are being answered, with the images of each."""
    return f"{KEY_PREFIX}:in-flight:{client}"


def spent_key(client: str) -> str:
    """The last spendings of a rate-limited client, whose images can be given back."""
    return f"{KEY_PREFIX}:spent:{client}"


def void_key(lease: str) -> str:
    """A key that exists if a spending is forbidden, should Redis receive it late."""
    return f"{KEY_PREFIX}:void:{lease}"


def order_key(order_id: str) -> str:
    """An order and its state."""
    return f"{KEY_PREFIX}:order:{order_id}"


def order_drawn_key(order_id: str) -> str:
    """A bit for each chunk of an order that was drawn."""
    return f"{KEY_PREFIX}:order-drawn:{order_id}"


def order_files_key(order_id: str) -> str:
    """The files of an order by chunk."""
    return f"{KEY_PREFIX}:order-files:{order_id}"


def order_read_key(order_id: str) -> str:
    """The chunks of an order whose files a client has received."""
    return f"{KEY_PREFIX}:order-read:{order_id}"


def order_wanted_key(order_id: str) -> str:
    """The chunks of an order that readers wait for."""
    return f"{KEY_PREFIX}:order-wanted:{order_id}"


def idempotency_key(client: str, digest: str) -> str:
    """The order that a client's request with this Idempotency-Key (its digest) has made."""
    return f"{KEY_PREFIX}:order-key:{client}:{digest}"

"""The result of an order: a zip that is sent while its images are drawn, or the image ids."""

from __future__ import annotations

import asyncio
import json
import logging
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from copy import copy
from typing import IO, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from app.api.combined_files import EPOCH
from app.api.services import Services
from app.background import raise_lost_cancel
from app.errors import (
    DeadlineExceededError,
    JobEndedError,
    NotReadyError,
    QueueFullError,
    QueueUnavailableError,
)
from app.queue.orders import Order, OrderStatus

logger = logging.getLogger(__name__)
PIECE_BYTES = 64 * 1024  # what is given to the connection at once
POLL_S = 0.1
AHEAD_CHUNKS = 4  # that a reader waits for at once
MAX_PAUSE_S = 5.0
IDS_PER_PIECE = 1000
LATER = (QueueFullError, NotReadyError, QueueUnavailableError)


class UnsentFile:
    """What a ZipFile writes; `take` removes it. What was not taken yet can be written over.

    ZipFile goes back to the header of an entry when it knows the size and the CRC-32. Without that,
    it would write them behind the entry, which programs that read a zip as a stream cannot read.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0  # of the buffer in the file
        self._at = 0

    def write(self, data: bytes) -> int:
        """Writes at the position."""
        offset = self._at - self._start
        self._buffer[offset : offset + len(data)] = data
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        """The position in the whole file."""
        return self._at

    def seek(self, position: int, whence: int = 0) -> int:
        """Goes to a position; raises OSError for one that was taken."""
        if whence != 0 or position < self._start:
            raise OSError(f"position {position} was sent already")
        self._at = position
        return position

    def seekable(self) -> bool:
        """Yes."""
        return True

    def flush(self) -> None:
        """Does nothing."""

    @property
    def num_bytes(self) -> int:
        """How many bytes can be taken."""
        return len(self._buffer)

    def take(self) -> bytes:
        """Removes and returns what was written."""
        data = bytes(self._buffer)
        self._start += len(data)
        self._buffer.clear()
        return data


class Entries(list[ZipInfo]):
    """The entries of a ZipFile in 24 bytes each; ZipFile's own list needs 400.

    ZipFile appends to it and reads it at the end. Of each entry only CRC-32, size and offset are
    kept: `name_of(i)` gives the name of the i-th, and all other members are those of the first.
    """

    def __init__(self, name_of: Callable[[int], str]) -> None:
        super().__init__()
        self._name_of = name_of
        self._numbers = array("Q")  # CRC-32, size and offset of each
        self._first: ZipInfo | None = None

    def __len__(self) -> int:
        return len(self._numbers) // 3

    def append(self, entry: ZipInfo) -> None:
        """Notes an entry that was written, without compression."""
        self._first = self._first or entry
        self._numbers.extend((entry.CRC, entry.file_size, entry.header_offset))

    def __iter__(self) -> Iterator[ZipInfo]:
        for i in range(len(self)):
            entry = copy(self._first) or ZipInfo()
            entry.filename = self._name_of(i)
            entry.CRC, entry.file_size, entry.header_offset = self._numbers[3 * i : 3 * i + 3]
            entry.compress_size = entry.file_size
            yield entry


class Forgetful(dict[str, ZipInfo]):
    """ZipFile's index by name, kept empty to save memory: names of an order never repeat."""

    def __setitem__(self, name: str, entry: ZipInfo) -> None:
        pass


def open_zip(file: UnsentFile, name_of: Callable[[int], str]) -> ZipFile:
    """A zip of many files, whose i-th one will be called `name_of(i)`."""
    archive = ZipFile(cast(IO[bytes], file), "w", ZIP_STORED)
    archive.filelist = Entries(name_of)
    archive.NameToInfo = Forgetful()
    return archive


class ResultReader:
    """Reads the files of an order chunk by chunk, and waits for those that are not drawn yet."""

    def __init__(self, services: Services, status: OrderStatus) -> None:
        self.services = services
        self.book = services.orders
        self.status = status
        self.order: Order = status.order

    async def zipped(self) -> AsyncIterator[bytes]:
        """The zip in pieces; no more than a chunk and the list of entries are in memory.

        An order that ends early leaves a zip without an end: the connection is cut.
        Raises JobEndedError.
        """
        unsent = UnsentFile()
        archive = open_zip(unsent, self._name)
        for chunk in range(self.order.num_chunks):
            bodies = await self._files(chunk)
            for place, body in zip(self.order.places(chunk), bodies, strict=True):
                archive.writestr(ZipInfo(self._name(place), EPOCH), body)
                if unsent.num_bytes >= PIECE_BYTES:
                    yield unsent.take()
            yield unsent.take()
            await self._mark_read(chunk)
        await asyncio.get_running_loop().run_in_executor(self.services.combiners, archive.close)
        rest = unsent.take()
        for at in range(0, len(rest), PIECE_BYTES):
            yield rest[at : at + PIECE_BYTES]

    def _name(self, place: int) -> str:
        return f"{self.order.image_id(place)}.{self.order.output}"

    async def _files(self, chunk: int) -> list[bytes]:
        """The files of the chunk, from Redis if they are kept; raises JobEndedError."""
        while True:
            raise_lost_cancel()
            try:
                if (bodies := await self.book.files(self.order.order_id, chunk)) is not None:
                    return bodies
                await self._look()
                if self.status.has_drawn(chunk):
                    return await self._drawn_again(chunk)
                for later in range(chunk, min(chunk + AHEAD_CHUNKS, self.order.num_chunks)):
                    await self.book.want(self.order.order_id, later)
            except QueueUnavailableError:
                await asyncio.sleep(1)
            await asyncio.sleep(POLL_S)

    async def _look(self) -> None:
        found = await self.book.status(self.order.order_id)
        if found is None:
            raise JobEndedError("the job has expired")
        self.status = found
        refuse_ended(found)

    async def _drawn_again(self, chunk: int) -> list[bytes]:
        """Draws a chunk whose files were dropped to make room; Redis may have it by now."""
        kept = await self.book.files(self.order.order_id, chunk)
        while kept is None:
            raise_lost_cancel()
            try:
                replies = await self.services.jobs.submit_many(
                    self.order.jobs(chunk), self.services.settings.max_timeout_ms
                )
            except DeadlineExceededError:
                continue
            except LATER as error:
                await asyncio.sleep(min(MAX_PAUSE_S, error.retry_after_s or 1))
                continue
            self.services.metrics.job_images_again.inc(len(replies))
            kept = [reply.body for reply in replies]
        return kept

    async def _mark_read(self, chunk: int) -> None:
        try:
            await self.book.mark_read(self.order.order_id, chunk)
        except QueueUnavailableError as error:  # only the room comes later
            logger.warning("cannot note that a chunk was read: %s", error.with_cause)


def refuse_ended(status: OrderStatus) -> None:
    """Raises JobEndedError for an order that was cancelled or has failed."""
    if status.state in ("cancelled", "failed"):
        why = f": {status.detail}" if status.detail else ""
        raise JobEndedError(f"the job {_told(status.state)}{why}")


def _told(state: str) -> str:
    return "was cancelled" if state == "cancelled" else "has failed"


def ids_document(status: OrderStatus) -> Iterator[bytes]:
    """A JSON document with all image ids, in pieces."""
    order = status.order
    head = {
        "id": order.order_id,
        "state": status.state,
        "model": order.model,
        "class": order.class_name,
    }
    yield json.dumps(head).encode()[:-1] + b', "image_ids": ['
    for first in range(0, order.num_images, IDS_PER_PIECE):
        last = min(first + IDS_PER_PIECE, order.num_images)
        ids = ", ".join(f'"{order.image_id(place)}"' for place in range(first, last))
        yield (b", " if first else b"") + ids.encode()
    yield b"]}"

"""Client: calls the service and waits for its responses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from app.client import calls
from app.client.calls import Call, Drawn
from app.client.problems import answers, raise_problem
from app.client.results import File, ImageClass, JobStatus, Model
from app.client.retries import Retries

TIMEOUT_S = 150.0  # more than the longest deadline of a request
Progress = Callable[[JobStatus], None]


@dataclass(frozen=True)
class Picture(File):
    """A generated image: its file, image id, seed and model."""

    id: str
    seed: int
    model: str
    client: Client = field(repr=False, compare=False)

    def attention(self, x: int, y: int, **fields: str | int) -> File:
        """See Client.attention."""
        return self.client.attention(self.id, x, y, **fields)


class Client:
    """Calls the service at `url`, with an API key if it needs one.

    Every method raises the errors of app.errors that the API reports, and NoAnswerError. Fields
    that a method passes on (`**fields`) are those of the API: truncation, attention_scale, model,
    format, priority, timeout_ms.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        retries: Retries | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        self._retries = retries or Retries()
        self.jobs = Jobs(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def generate(
        self, class_: str | int, *, seed: int | None = None, **fields: str | int | float
    ) -> Picture:
        """An image of a class (name, alias, WordNet id or index); without a seed a random one."""
        response = self.call(calls.generate(class_, seed=seed, **fields))
        return self._picture(calls.drawn(response))

    def generate_many(
        self, class_: str | int, n: int, *, seed: int | None = None, **fields: str | int | float
    ) -> list[Picture]:
        """Up to 64 images of a class; image i has `seed` + i. See `jobs` for more."""
        response = self.call(calls.generate_many(class_, n=n, seed=seed, **fields))
        return [self._picture(one) for one in calls.all_drawn(response)]

    def picture(self, image_id: str, **fields: str | int) -> Picture:
        """The image with this id."""
        return self._picture(
            calls.drawn(self.call(calls.get(calls.image_path(image_id), **fields)))
        )

    def attention(self, image_id: str, x: int, y: int, **fields: str | int) -> File:
        """A PNG of what the network attended to at the pixel (x, y): `view`, `layer`, `size`."""
        return calls.file_of(self.call(calls.attention(image_id, x, y, format="png", **fields)))

    def attention_weights(
        self, image_id: str, x: int, y: int, *, layer: int = -1
    ) -> list[list[float]]:
        """The attention of the pixel (x, y) as h×w weights that sum to 1."""
        call = calls.attention(image_id, x, y, format="json", layer=layer)
        return calls.weights(self.call(call))

    def walk(
        self,
        class_: str | int,
        *,
        seed: int | None = None,
        to_class: str | int | None = None,
        to_seed: int | None = None,
        **fields: str | int | float,
    ) -> File:
        """The frames from one image to another: an animated WebP, or `format` apng or strip."""
        ends = {"seed": seed, "to_class": to_class, "to_seed": to_seed}
        return calls.file_of(self.call(calls.walk(class_, **ends, **fields)))

    def classes(self, q: str = "", *, model: str | None = None) -> list[ImageClass]:
        """The classes of a model with `q` in a name, alias or WordNet id."""
        found = self.call(calls.get("/classes", q=q or None, model=model)).json()
        return [ImageClass.of(one) for one in found["classes"]]

    def models(self) -> list[Model]:
        """The models that are served."""
        found = self.call(calls.get("/models")).json()
        return [Model.of(one, found["default"]) for one in found["models"]]

    def call(self, call: Call) -> httpx.Response:
        """The response to a call, tried again as far as that is safe."""
        return self._retries.sync(repeatable=call.repeatable)(self._once, call)

    def _once(self, call: Call) -> httpx.Response:
        with answers():
            response = self._http.request(
                call.method, call.path, params=dict(call.params), headers=dict(call.headers)
            )
        raise_problem(response)
        return response

    @contextmanager
    def stream(self, call: Call) -> Iterator[Iterator[bytes]]:
        """The pieces of a response; this is not tried again."""
        with (
            answers(),
            self._http.stream(call.method, call.path, headers=dict(call.headers)) as response,
        ):
            if response.is_error:
                response.read()
            raise_problem(response)
            yield response.iter_bytes()

    def save(self, call: Call, path: Path) -> None:
        """Writes a response to a file, from its beginning after each lost connection.

        The file appears when it is whole.
        """
        self._retries.sync(repeatable=True)(self._save_once, call, path)

    def _save_once(self, call: Call, path: Path) -> None:
        part = path.with_name(f"{path.name}.part")
        with part.open("wb") as file, self.stream(call) as pieces:
            for piece in pieces:
                file.write(piece)
        part.replace(path)

    def _picture(self, one: Drawn) -> Picture:
        return Picture(one.content, one.media_type, one.image_id, one.seed, one.model, self)


class Jobs:
    """Orders thousands of images: `client.jobs`."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def submit(
        self,
        class_: str | int,
        n: int,
        *,
        seed: int | None = None,
        idempotency_key: str | None = None,
        **fields: str | int | float,
    ) -> Job:
        """A job of up to 100,000 images. `idempotency_key`: the same key makes one job."""
        call = calls.submit(class_, idempotency_key, n=n, seed=seed, **fields)
        return Job(self.client, self.client.call(call).json()["id"])

    def get(self, job_id: str) -> Job:
        """The job with this id, which may be unknown to the server."""
        return Job(self.client, job_id)


@dataclass(frozen=True)
class Job:
    """A job of the service."""

    client: Client = field(repr=False, compare=False)
    id: str

    def status(self) -> JobStatus:
        """How far it is."""
        return JobStatus.of(self.client.call(calls.get(calls.job_path(self.id))).json())

    def wait(self, progress: Progress | None = None, *, timeout_s: float | None = None) -> Self:
        """Waits until it is done; tells `progress` its status when that has changed.

        Raises JobEndedError if it has failed or was cancelled, DeadlineExceededError after
        `timeout_s` (the job goes on).
        """
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        last: JobStatus | None = None
        while not (status := self.status()).is_over:
            if progress is not None and status != last:
                progress(status)
            last = status
            calls.refuse_late(until_s)
            time.sleep(calls.pause_s(status.seconds_left))
        if progress is not None:
            progress(status)
        calls.refuse_unfinished(status)
        return self

    def image_ids(self) -> list[str]:
        """The ids of all its images, drawn or not."""
        accept = {"Accept": "application/json"}
        call = Call("GET", calls.job_path(self.id, "/result"), headers=accept)
        ids: list[str] = self.client.call(call).json()["image_ids"]
        return ids

    @contextmanager
    def stream(self) -> Iterator[Iterator[bytes]]:
        """The zip in pieces, while the images are drawn: `with job.stream() as pieces`."""
        with self.client.stream(calls.get(calls.job_path(self.id, "/result"))) as pieces:
            yield pieces

    def save(self, path: str | Path) -> None:
        """Writes the zip to a file, which appears when it is whole."""
        self.client.save(calls.get(calls.job_path(self.id, "/result")), Path(path))

    def cancel(self) -> None:
        """Cancels it, or deletes it if it has ended."""
        self.client.call(Call("DELETE", calls.job_path(self.id), repeatable=False))

"""What browsers, curl and HTML forms send: GET with a seed, forms, names of files, compression."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.image_headers import image_disposition
from app.api.main import create_app
from app.queue.messages import Job, ModelCard, ModelClass
from app.settings import Settings
from tests.app.api.fake_worker import CARD, FakeWorker, body_of
from tests.app.api.served_app import served

PREFIX = CARD.fingerprint[:12]
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
CHROME_IMG = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
SAFARI_IMG = "image/webp,image/avif,image/jxl,video/*;q=0.8,image/png,image/svg+xml,image/*;q=0.8"
IDENTITY = {"Accept-Encoding": "identity"}
MAPS = f"/attention-map?image={PREFIX}-0-7-n&format=bin"


async def test_get_with_a_seed_is_the_same_image_and_can_be_revalidated(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """Bytes and headers of POST; a cache asks again by the tag, and nothing is drawn."""
    for query in ("class=tabby&seed=3", "class=tabby&seed=3&n=2", "class=2&seed=3&layout=zip"):
        posted = await ready_api.post(f"/generate?{query}")
        got = await ready_api.get(f"/generate?{query}")
        assert (got.status_code, got.content) == (200, posted.content)
        assert got.headers["cache-control"] == "public, no-cache"
        assert got.headers["etag"] == posted.headers["etag"]
        num_drawn = len(worker.drawn)
        held = {"If-None-Match": got.headers["etag"], "Cache-Control": "no-cache"}
        again = await ready_api.get(f"/generate?{query}", headers=held)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == got.headers["etag"]
        assert len(worker.drawn) == num_drawn


async def test_get_without_a_seed_says_what_is_missing(ready_api: httpx.AsyncClient) -> None:
    """A GET has one result for each address; a random image is none."""
    refused = await ready_api.get("/generate?class=tabby")
    assert (refused.status_code, refused.json()["fields"]) == (422, ["seed"])
    assert "POST" in refused.json()["detail"]


@pytest.mark.parametrize("path", ["/generate", "/v1/images/generations"])
@pytest.mark.parametrize("multipart", [False, True])
async def test_a_form_is_read_as_a_query_is(
    ready_api: httpx.AsyncClient, worker: FakeWorker, path: str, multipart: bool
) -> None:
    """Fields that a browser sends empty are not given."""
    name = "prompt" if path.startswith("/v1/") else "class"
    fields = {name: "Persian cat", "seed": "3", "n": "2", "model": ""}
    how: dict[str, Any] = {"data": fields}
    if multipart:
        how = {"files": {key: (None, value) for key, value in fields.items()}}
    answer = await ready_api.post(path, **how)
    assert answer.status_code == 200, answer.text
    assert sorted(job.seed for job in worker.drawn) == [3, 4]


@pytest.mark.parametrize(
    ("content_type", "body", "told"),
    [
        ("application/x-www-form-urlencoded", b"class=%ff", "not UTF-8"),
        ("application/x-www-form-urlencoded", b"class=\xff", "not UTF-8"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 101), "at most 100"),
        ("application/x-www-form-urlencoded", b"class=0&class=1", "more than once"),
        ("application/x-www-form-urlencoded", b"clas=0", "did you mean class"),
        ("multipart/form-data", b"class=0", "oundary"),
        ("multipart/form-data; boundary=a", b"class=0", "not valid"),
        (
            "multipart/form-data; boundary=a",
            b'--a\r\nContent-Disposition: form-data; name="x"; filename="y"\r\n\r\nz\r\n--a--\r\n',
            "no files",
        ),
    ],
)
async def test_a_bad_form_is_refused(
    ready_api: httpx.AsyncClient, content_type: str, body: bytes, told: str
) -> None:
    """422, with the reason."""
    headers = {"Content-Type": content_type}
    refused = await ready_api.post("/generate?class=0", content=body, headers=headers)
    assert refused.status_code == 422
    assert told in refused.json()["detail"]


@pytest.mark.parametrize("accept", [CHROME, CHROME_IMG, SAFARI_IMG, "text/html, */*"])
async def test_a_browser_gets_the_lossless_image(ready_api: httpx.AsyncClient, accept: str) -> None:
    """Unless the address says otherwise; a program that prefers WebP gets WebP."""
    image, headers = f"/images/{PREFIX}-2-3-n", {"Accept": accept}
    for path, media_type in (
        (image, "image/png"),
        ("/generate?class=2&seed=3", "image/png"),
        (f"{image}.webp", "image/webp"),
        (f"{image}?format=jpeg", "image/jpeg"),
    ):
        shown = await ready_api.get(path, headers=headers)
        assert shown.headers["content-type"] == media_type
    program = await ready_api.get(image, headers={"Accept": "image/webp, */*;q=0.5"})
    assert program.headers["content-type"] == "image/webp"
    walk = "/interpolate?class=2&seed=3&to_seed=4&frames=2"
    assert (await ready_api.post(walk, headers=headers)).headers["content-type"] == "image/webp"


async def test_a_suffix_and_a_format_may_not_contradict(ready_api: httpx.AsyncClient) -> None:
    """Nor may an image be enlarged beyond all bounds, or a PNG have a quality."""
    image = f"/images/{PREFIX}-2-3-n"
    wrong = (f"{image}.png?format=webp", f"{image}.png?quality=3", f"{image}.png?scale=33")
    for path, field in zip(wrong, ("format", "quality", "scale"), strict=True):
        refused = await ready_api.get(path)
        assert (refused.status_code, refused.json()["fields"]) == (422, [field])
    large = await ready_api.get(f"{image}.png?scale=2")
    tag = {"If-None-Match": large.headers["etag"]}
    assert (await ready_api.get(f"{image}.png?scale=2", headers=tag)).status_code == 304
    assert (await ready_api.get(f"{image}.png?scale=3", headers=tag)).status_code == 200
    assert (await ready_api.get(f"{image}.png", headers=tag)).status_code == 200


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/generate?class=0&seed=3", "golden_retriever-3.png"),
        ("/generate?class=tabby&seed=3&truncation=0.5&format=webp", "Persian_cat-3-t0.5.webp"),
        ("/generate?class=3&seed=3&attention_scale=0", "ice-cream-3-a0.png"),
        ("/generate?class=3&seed=3&n=4&format=jpeg", "ice-cream-3x4.jpeg"),
        (f"/images/{PREFIX}-0-7-n.png?scale=2", "golden_retriever-7-x2.png"),
        (f"/attention-map?image={PREFIX}-0-7-n&x=1&y=1", "golden_retriever-7-attention.png"),
        (
            "/interpolate?class=3&seed=1&to_class=0&frames=2",
            "ice-cream-1-to-golden_retriever-1.webp",
        ),
    ],
)
async def test_a_saved_file_has_a_telling_name(
    ready_api: httpx.AsyncClient, path: str, name: str
) -> None:
    """And it is shown, not saved, unless somebody wants to save it."""
    method = "POST" if path.startswith("/interpolate") else "GET"
    answer = await ready_api.request(method, path)
    assert answer.headers["content-disposition"] == f'inline; filename="{name}"'


@pytest.mark.parametrize(
    ("class_name", "plain", "encoded"),
    [
        ('../"a"\r\n;b', "a_b-3.png", None),
        ("Bär", "Bar-3.png", "B%C3%A4r-3.png"),
        ("熊", "image-3.png", "%E7%86%8A-3.png"),
        ("...", "image-3.png", None),
        ("x" * 200, f"{'x' * 80}-3.png", None),
    ],
)
def test_any_name_of_a_class_becomes_a_name_of_a_file(
    class_name: str, plain: str, encoded: str | None
) -> None:
    """Without what ends a header or leads out of a folder (RFC 6266, section 4.3)."""
    card = ModelCard("m", CARD.fingerprint, 64, (ModelClass(class_name, None),), (), "cpu", 8, None)
    said = image_disposition(card, Job(fingerprint=CARD.fingerprint, label=0, seed=3))
    wanted = f'inline; filename="{plain}"'
    assert said == (f"{wanted}; filename*=UTF-8''{encoded}" if encoded else wanted)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/openapi.json"),
        ("GET", "/metrics"),
        ("GET", MAPS),
        ("POST", "/generate?class=0&seed=1&n=4&layout=json&format=jpeg"),
        ("GET", "/generate?class=0&seed=1&n=4&layout=json&format=jpeg"),
        ("GET", "/studio/studio.js"),
    ],
)
async def test_text_and_arrays_are_compressed_for_who_accepts_it(
    ready_api: httpx.AsyncClient, method: str, path: str
) -> None:
    """The same bytes under another tag, and caches know on what it depends."""
    plain = await ready_api.request(method, path, headers=IDENTITY)
    assert "content-encoding" not in plain.headers
    packed = await ready_api.request(method, path, headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content)
    if path != "/metrics":
        assert packed.content == plain.content
    for answer in (plain, packed):
        assert "Accept-Encoding" in answer.headers["vary"]
    if tag := plain.headers.get("etag"):
        assert packed.headers["etag"] == f"W/{tag}"
    refused = {"Accept-Encoding": "gzip;q=0, *;q=0"}
    assert (
        "content-encoding" not in (await ready_api.request(method, path, headers=refused)).headers
    )


@pytest.mark.parametrize(
    "path", [f"/images/{PREFIX}-0-7-n.png", "/generate?class=0&seed=1", "/livez", "/classes"]
)
async def test_images_and_what_is_small_are_not_compressed(
    ready_api: httpx.AsyncClient, path: str
) -> None:
    """They would become larger."""
    answer = await ready_api.get(path, headers={"Accept-Encoding": "gzip"})
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers
    assert "Accept-Encoding" not in answer.headers.get("vary", "")


async def test_a_compressed_response_is_revalidated_by_its_tag(
    ready_api: httpx.AsyncClient,
) -> None:
    """The 304 has the tag that the 200 would have (RFC 9110, section 15.4.5)."""
    for headers in (IDENTITY, {"Accept-Encoding": "gzip"}):
        first = await ready_api.get(MAPS, headers=headers)
        tag = first.headers["etag"]
        again = await ready_api.get(MAPS, headers={**headers, "If-None-Match": tag})
        assert (again.status_code, again.headers["etag"]) == (304, tag)
        assert "Accept-Encoding" in again.headers["vary"]


async def test_curl_saves_the_image_under_its_name(
    settings: Settings, worker: FakeWorker, tmp_path: Path
) -> None:
    """`curl -OJ`, `curl -d` and `curl -F` against the served application."""
    async with served(create_app(settings), settings, ready=True) as port:
        base = f"http://127.0.0.1:{port}"
        for arguments in (
            ["-OJ", f"{base}/generate?class=golden_retriever&seed=3"],
            ["-OJ", "-d", "class=tabby", "-d", "seed=4", f"{base}/generate"],
            ["-OJ", "-F", "class=3", "-F", "seed=5", f"{base}/generate"],
            ["--compressed", "-o", "models.json", f"{base}/openapi.json"],
        ):
            await asyncio.to_thread(
                subprocess.run, ["curl", "-sSf", *arguments], cwd=tmp_path, check=True, timeout=20
            )
    saved = {path.name for path in tmp_path.iterdir()}  # noqa: ASYNC240 - a few names
    images = {"golden_retriever-3.png", "Persian_cat-4.png", "ice-cream-5.png"}
    assert saved == images | {"models.json"}
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in images)
    assert json.loads((tmp_path / "models.json").read_bytes())["openapi"]


@pytest.mark.parametrize(
    ("flags", "items"),
    [
        # with JSON, HTTPie asks for JSON first; the service then puts the image into a document
        ([], ["class=tabby", "seed:=4", "truncation:=0.5", "Accept:image/png"]),
        (["--form"], ["class=tabby", "seed=4", "truncation=0.5", "model="]),
        (["--multipart"], ["class=tabby", "seed=4", "truncation=0.5"]),
        ([], ["class==tabby", "seed==4", "truncation==0.5"]),
    ],
    ids=["json", "form", "multipart", "query"],
)
async def test_httpie_draws_with_each_kind_of_body(
    settings: Settings, worker: FakeWorker, tmp_path: Path, flags: list[str], items: list[str]
) -> None:
    """The same image, into a file."""
    async with served(create_app(settings), settings, ready=True) as port:
        done = await asyncio.to_thread(
            httpie, tmp_path, *flags, "-o", "cat.png", "POST", f":{port}/generate", *items
        )
    assert done.returncode == 0, done.stderr
    (job,) = worker.drawn
    assert (tmp_path / "cat.png").read_bytes() == body_of(job)
    assert (job.label, job.seed, job.truncation_thousandths) == (2, 4, 500)


async def test_httpie_shows_what_is_wrong(
    settings: Settings, worker: FakeWorker, tmp_path: Path
) -> None:
    """A problem is JSON that it prints, and a failure to shells."""
    async with served(create_app(settings), settings, ready=True) as port:
        done = await asyncio.to_thread(
            httpie, tmp_path, "--check-status", f":{port}/generate", "class=tabbi"
        )
    assert done.returncode == 4  # its exit status for 4xx
    assert json.loads(done.stdout)["status"] == 422
    assert worker.drawn == []


def httpie(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs HTTPie in a folder; it neither reads its user's settings nor asks for updates."""
    config = folder / "config"
    config.mkdir()
    (config / "config.json").write_text('{"disable_update_warnings": true}')
    return subprocess.run(
        [Path(sys.executable).parent / "http", "--ignore-stdin", *arguments],
        cwd=folder,
        env={**os.environ, "HTTPIE_CONFIG_DIR": str(config)},
        capture_output=True,
        text=True,
        timeout=30,
    )


async def test_the_compressed_bytes_are_gzip(settings: Settings, worker: FakeWorker) -> None:
    """As a client without a library reads them."""
    async with (
        served(create_app(settings), settings, ready=True) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
        http.stream("GET", "/openapi.json", headers={"Accept-Encoding": "gzip"}) as answer,
    ):
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert json.loads(gzip.decompress(raw))["openapi"].startswith("3.1")

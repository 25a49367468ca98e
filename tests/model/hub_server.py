"""A server of the part of the Hugging Face Hub's protocol that its client needs here.

It keeps repositories in memory. A commit is a set of files; each revision names one.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"  # noqa: S105 - of nothing
Files = Mapping[str, bytes]


@dataclass
class HubState:
    """What the server has: commits by repository and id, revisions, and uploaded large files."""

    commits: dict[str, dict[str, Files]] = field(default_factory=dict)
    revisions: dict[tuple[str, str], str] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)  # paths of files that were downloaded

    def commit(self, repo: str, revision: str, files: Files) -> str:
        """Adds files to what the revision has; the new commit's id."""
        known = self.commits.setdefault(repo, {})
        before = known.get(self.revisions.get((repo, revision), ""), {})
        merged = {**before, **files}
        text = repr(sorted((n, hashlib.sha256(b).hexdigest()) for n, b in merged.items()))
        commit = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - an id, as git's are
        known[commit] = merged
        self.revisions[repo, revision] = commit
        return commit

    def files(self, repo: str, revision: str) -> tuple[str, Files] | None:
        """The commit of a revision and its files."""
        commit = self.revisions.get((repo, revision), revision)
        found = self.commits.get(repo, {}).get(commit)
        return None if found is None else (commit, found)


def blob_id(body: bytes) -> str:
    """Git's id of a file."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()  # noqa: S324


class _Handler(BaseHTTPRequestHandler):
    state: HubState
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A revision, a tree or a file."""
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path):
            self._describe(match[1], match[2], match[3])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3])
        else:
            self._json(404, {"error": path})

    def do_HEAD(self) -> None:
        """The same without a body."""
        self.do_GET()

    def do_POST(self) -> None:
        """A new repository, the ways to upload, or a commit."""
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["authorization"] != f"Bearer {TOKEN}":
            self._json(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            self.state.commit(repo, "main", {})
            self._json(200, {"url": f"{self._base}/{repo}"})
        elif path == "/api/validate-yaml":
            self._json(200, {"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            self._json(200, {"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            self._lfs(json.loads(body)["objects"])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", path):
            self._commit(match[1], match[2], body)
        else:
            self._json(404, {"error": path})

    def do_PUT(self) -> None:
        """A large file."""
        if "content-length" in self.headers:
            body = self.rfile.read(int(self.headers["content-length"]))
        else:
            body = b"".join(self._chunks())
        self.state.large[hashlib.sha256(body).hexdigest()] = body
        self._json(200, {})

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _describe(self, repo: str, what: str, revision: str) -> None:
        if repo not in self.state.commits:
            self._json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return
        if (found := self.state.files(repo, revision)) is None:
            self._json(
                404, {"error": f"Invalid rev id: {revision}"}, {"X-Error-Code": "RevisionNotFound"}
            )
            return
        commit, files = found
        if what == "revision":
            siblings = [{"rfilename": name} for name in files]
            self._json(200, {"id": repo, "sha": commit, "siblings": siblings, "private": False})
            return
        tree = [
            {"type": "file", "path": name, "size": len(body), "oid": blob_id(body)}
            for name, body in files.items()
        ]
        self._json(200, tree)

    def _file(self, repo: str, revision: str, name: str) -> None:
        found = self.state.files(repo, revision)
        if found is None or name not in found[1]:
            self._json(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        commit, files = found
        if self.command == "GET":
            self.state.fetched.append(name)
        etag = f'"{blob_id(files[name])}"'
        self._send(200, files[name], {"ETag": etag, "X-Repo-Commit": commit})

    def _lfs(self, objects: list[dict[str, object]]) -> None:
        told = [
            {**one, "actions": {"upload": {"href": f"{self._base}/upload/{one['oid']}"}}}
            for one in objects
        ]
        self._json(200, {"transfer": "basic", "objects": told})

    def _commit(self, repo: str, revision: str, body: bytes) -> None:
        files: dict[str, bytes] = {}
        for line in body.splitlines():
            part = json.loads(line)
            value = part["value"]
            if part["key"] == "file":
                files[value["path"]] = b64decode(value["content"])
            elif part["key"] == "lfsFile":
                files[value["path"]] = self.state.large[value["oid"]]
        commit = self.state.commit(repo, revision, files)
        url = f"{self._base}/{repo}/commit/{commit}"
        self._json(200, {"commitUrl": url, "commitOid": commit, "success": True})

    @property
    def _base(self) -> str:
        return f"http://{self.headers['host']}"

    def _json(
        self, status: int, document: object, headers: Mapping[str, str] | None = None
    ) -> None:
        self._send(status, json.dumps(document).encode(), headers or {})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing."""


@contextmanager
def hub() -> Iterator[tuple[str, HubState]]:
    """The address of a running server, and what it has."""
    state = HubState()
    handler = type("Handler", (_Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", state
        finally:
            server.shutdown()
            thread.join()

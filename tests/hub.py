"""A double of the Hugging Face hub: two real HTTP servers on 127.0.0.1, one for the hub and one for its big files.

    with Hub() as hub:
        revision = hub.publish("owner/name", {"config.json": b"{}", "model.safetensors": content})
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)

The fixtures `home` and `hub` are that, for a user who has no models yet: a conftest imports them.

It answers as the hub does, so its own client works with it. Big files (`LARGE`) are redirected to the other server,
with their sha256; small ones are redirected to another place of the same, and only their git hash is told.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

LARGE = (".safetensors", ".bin", ".pt", ".pth", ".onnx", ".msgpack")
CHUNK = 16 * 1024


@dataclass(frozen=True)
class Asked:
    """One request: `server` is `hub` or `store`; names of headers are in small letters."""

    server: str
    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def first(self) -> int:
        """The byte from which on the content was asked for."""
        return int(self.headers.get("range", "bytes=0-").partition("=")[2].partition("-")[0])


@dataclass
class Trouble:
    """What goes wrong with a file, the next `times` that its content is asked for.

    `cut` ends the transfer after as many bytes; `status` is the answer instead; `spoil` turns a bit; `whole` ignores
    that only a part was asked for; `pace` is bytes a second; `hold` is waited for in the middle, after `held` is set.
    """

    cut: int | None = None
    status: int = 0
    spoil: bool = False
    whole: bool = False
    pace: float = 0.0
    hold: threading.Event | None = None
    held: threading.Event = field(default_factory=threading.Event)
    times: int = 1_000_000


@dataclass
class _Repository:
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    main: str = ""
    gated: bool = False

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit that a revision names, and its files."""
        commit = self.main if revision in ("main", "refs/heads/main") else revision
        return (commit, self.commits[commit]) if commit in self.commits else None


class Hub:
    """The hub: publish repositories and files, say what goes wrong, look at what was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.troubles: dict[str, Trouble] = {}
        """By the path of a file in its repository, or the last part of a plain file's URL."""
        self.members: set[str] = set()
        """Tokens whose owners may have gated repositories."""
        self.repositories: dict[str, _Repository] = {}
        self.plain: dict[str, bytes] = {}
        self._hub, self._store = _server(self, "hub"), _server(self, "store")

    def __enter__(self) -> Self:
        for server in (self._hub, self._store):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for trouble in self.troubles.values():
            if trouble.hold:
                trouble.hold.set()
        for server in (self._hub, self._store):
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._hub.server_port}"

    @property
    def elsewhere(self) -> str:
        """Where big files are redirected to."""
        return f"http://127.0.0.1:{self._store.server_port}"

    def publish(self, name: str, files: Mapping[str, bytes], gated: bool = False) -> str:
        """Make a commit of OWNER/NAME's main branch; returns its revision."""
        repository = self.repositories.setdefault(name, _Repository())
        told = repr((name, len(repository.commits), sorted(files.items()))).encode()
        repository.main, repository.gated = hashlib.sha1(told).hexdigest(), gated
        repository.commits[repository.main] = dict(files)
        return repository.main

    def file(self, name: str, content: bytes) -> str:
        """Offer a file outside any repository, `NAME` or `FOLDER/NAME`; returns its URL."""
        self.plain[name] = content
        return f"{self.endpoint}/files/{name}"

    def gets(self, ending: str = "") -> list[Asked]:
        """Requests for contents that ended at their source (no redirect), by the end of their path."""
        contents = [one for one in self.asked if one.method == "GET" and _is_content(one)]
        return [one for one in contents if one.path.endswith(ending)]


def _is_content(one: Asked) -> bool:
    return one.server == "store" or one.path.startswith(("/files/", "/api/resolve-cache/"))


def sha256(content: bytes) -> str:
    """Its hash, as hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def blob_id(content: bytes) -> str:
    """Its name in git."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the caches of a user are who has no models yet."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_TOKEN", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub that such a user's programs ask."""
    with Hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        yield served


def cached(home: Path, name: str, revision: str, files: Mapping[str, bytes]) -> Path:
    """Put a repository into the user's cache, as the hub's own client leaves it; returns its revision's folder."""
    folder = home / "huggingface" / "hub" / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    (folder / "snapshots" / revision).mkdir(parents=True)
    (folder / "blobs").mkdir()
    for path, content in files.items():
        (folder / "blobs" / sha256(content)).write_bytes(content)
        (folder / "snapshots" / revision / path).symlink_to(f"../../blobs/{sha256(content)}")
    return folder / "snapshots" / revision


def _server(hub: Hub, name: str) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub, "server_name": name}))
    server.daemon_threads = True
    server.block_on_close = False
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    server_name: str

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.asked.append(Asked(self.server_name, self.command, self.path, headers))
        path = unquote(urlsplit(self.path).path).strip("/")
        first, _, rest = path.partition("/")
        if self.server_name == "store":
            self._offer(*self._kept(rest)[1:])
        elif path.startswith("api/resolve-cache/models/"):
            commit, file, content = self._kept(path.split("/", 3)[3])
            self._offer(file, content, {"X-Repo-Commit": commit, "ETag": f'"{blob_id(content)}"'})
        elif path.startswith("api/models/"):
            self._describe(path.split("/", 2)[2])
        elif first == "files" and rest in self.hub.plain:
            self._offer(rest.rpartition("/")[2], self.hub.plain[rest])
        else:
            self._resolve(path)

    def _kept(self, path: str) -> tuple[str, str, bytes]:
        name, path = self._repository_in(path)
        commit, _, file = path.partition("/")
        return commit, file, self.hub.repositories[name].commits[commit][file]

    def _repository_in(self, path: str) -> tuple[str, str]:
        owner, name, *rest = path.split("/", 2)
        return f"{owner}/{name}", rest[0] if rest else ""

    def _resolve(self, path: str) -> None:
        name, rest = self._repository_in(path) if path.count("/") >= 4 else ("", "")
        repository = self._allowed(name)
        if repository:
            revision, _, file = rest.partition("/")[2].partition("/")
            found = repository.files(revision)
            if not found:
                self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            elif file not in found[1]:
                self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": found[0]})
            else:
                self._redirect(name, found[0], file, found[1][file])

    def _allowed(self, name: str) -> _Repository | None:
        repository = self.hub.repositories.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not repository:
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif repository.gated and token not in self.hub.members:
            said = f"Access to model {name} is restricted."
            self._refuse(403 if token else 401, "GatedRepo", said)
        else:
            return repository
        return None

    def _redirect(self, name: str, commit: str, file: str, content: bytes) -> None:
        about = {"X-Repo-Commit": commit, "X-Linked-Size": str(len(content)), "Accept-Ranges": "bytes"}
        if file.endswith(LARGE):
            place = f"{self.hub.elsewhere}/repos/{name}/{commit}/{file}"
            self._reply(302, {**about, "X-Linked-Etag": f'"{sha256(content)}"', "Location": place})
        else:
            place = f"/api/resolve-cache/models/{name}/{commit}/{file}"
            self._reply(307, {**about, "ETag": f'"{blob_id(content)}"', "Location": place})

    def _describe(self, path: str) -> None:
        name, rest = self._repository_in(path)
        repository = self.hub.repositories.get(name)
        if not repository:
            self._refuse(401, "RepoNotFound", "Repository not found")
            return
        kind, _, revision = rest.partition("/")
        found = repository.files(revision.partition("/")[0] or "main")
        if not found:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        about = _listing(found[1]) if kind == "tree" else self._about(name, repository, *found)
        self._reply(200, {"Content-Type": "application/json"}, json.dumps(about).encode())

    def _about(self, name: str, repository: _Repository, commit: str, files: dict[str, bytes]) -> dict[str, Any]:
        asked = parse_qs(urlsplit(self.path).query)
        blobs = asked.get("blobs") in (["true"], ["True"])
        siblings = [{"rfilename": file, **(_sizes(file, files[file]) if blobs else {})} for file in sorted(files)]
        dates = {"lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z"}
        gated = "auto" if repository.gated else False
        about = {"_id": "0", "id": name, "modelId": name, "author": name.partition("/")[0], "sha": commit, **dates}
        return {**about, "private": False, "gated": gated, "disabled": False, "tags": [], "siblings": siblings}

    def _offer(self, file: str, content: bytes, about: Mapping[str, str] | None = None) -> None:
        trouble = self._trouble(file)
        if trouble.status:
            self._refuse(trouble.status, "", "trouble")
            return
        if trouble.spoil:
            content = content[:-1] + bytes([content[-1] ^ 1])
        size, first = len(content), 0 if trouble.whole else self._first()
        headers = {"ETag": f'"{sha256(content)}"', "Accept-Ranges": "bytes", **(about or {})}
        if first and first >= size:
            self._reply(416, {**headers, "Content-Range": f"bytes */{size}"})
        elif first:
            self._reply(206, {**headers, "Content-Range": f"bytes {first}-{size - 1}/{size}"}, content[first:], trouble)
        else:
            self._reply(200, headers, content, trouble)

    def _trouble(self, file: str) -> Trouble:
        known = self.hub.troubles.get(file)
        if not known or known.times <= 0 or self.command != "GET":
            return Trouble()
        known.times -= 1
        return known

    def _first(self) -> int:
        return int(self.headers.get("Range", "bytes=0-").partition("=")[2].partition("-")[0] or 0)

    def _refuse(self, status: int, code: str, message: str, more: Mapping[str, str] | None = None) -> None:
        known = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self._reply(status, {**known, **(more or {})}, json.dumps({"error": message}).encode())

    def _reply(
        self, status: int, headers: Mapping[str, str], body: bytes = b"", trouble: Trouble | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._write(body, trouble or Trouble())

    def _write(self, body: bytes, trouble: Trouble) -> None:
        upto = len(body) if trouble.cut is None else trouble.cut
        try:
            for start in range(0, min(upto, len(body)), CHUNK):
                self.wfile.write(body[start : min(start + CHUNK, upto)])
                self._linger(trouble, start + CHUNK >= len(body) // 2)
        except OSError:  # whoever asked is gone
            self.close_connection = True
        if upto < len(body):
            self.close_connection = True

    def _linger(self, trouble: Trouble, halfway: bool) -> None:
        if trouble.pace:
            time.sleep(CHUNK / trouble.pace)
        if trouble.hold and halfway:
            trouble.held.set()
            trouble.hold.wait(300)


def _sizes(file: str, content: bytes) -> dict[str, Any]:
    known = {"size": len(content), "blobId": blob_id(content)}
    lfs = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
    return {**known, "lfs": lfs} if file.endswith(LARGE) else known


def _listing(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [_entry(path, content) for path, content in sorted(files.items())]


def _entry(path: str, content: bytes) -> dict[str, Any]:
    known = {"type": "file", "path": path, "oid": blob_id(content), "size": len(content)}
    lfs = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
    return {**known, "lfs": lfs} if path.endswith(LARGE) else known

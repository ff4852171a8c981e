"""What a model's source means on this machine: where its files may lie already, and where they can be had.

hf:OWNER/NAME[@REVISION]    a repository of the Hugging Face hub, or of what $HF_ENDPOINT names
https://.../FILE            one file
path:/ABSOLUTE/PATH         files of the user's: here only where the job was asked for on this machine
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List
from urllib.parse import quote, unquote, urlsplit

from _runner.fetching import Refused

HUB = "https://huggingface.co"
_REPOSITORY = re.compile(r"hf:([A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)?)(?:@.*)?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_WEB = re.compile(r"https?://[^\s]+")
_TOKEN = re.compile(r"[!-~]+")
_USER = re.compile(r"(?<=://)[^/@]*@")

Model = Dict[str, Any]
File = Dict[str, Any]


def lying(model: Model, file: File) -> Iterator[Path]:
    """Places where the user's own tools keep such a file. They are read, and never written."""
    repository = _repository(model)
    if repository:
        for cache in _hub_caches():
            folder = cache / ("models--" + repository.replace("/", "--"))
            yield folder / "snapshots" / _revision(model) / file["path"]
            yield folder / "blobs" / file["sha256"]  # a big file's name there, whatever revision brought it
    elif file.get("url"):
        name = unquote(urlsplit(file["url"]).path).rpartition("/")[2]
        yield from (folder / name for folder in _file_caches() if name not in ("", ".", ".."))


def _hub_caches() -> List[Path]:
    named = [_variable("HF_HUB_CACHE"), _variable("HUGGINGFACE_HUB_CACHE")]
    homes = [home / "hub" for home in _hub_homes()]
    return list(dict.fromkeys([path for path in named if path] + homes))


def _hub_homes() -> List[Path]:
    home = _variable("HF_HOME")
    return ([home] if home else []) + [folder / "huggingface" for folder in _caches()]


def _file_caches() -> List[Path]:
    torch = _variable("TORCH_HOME")
    homes = ([torch] if torch else []) + [folder / "torch" for folder in _caches()]
    return [folder / "whisper" for folder in _caches()] + [home / "hub" / "checkpoints" for home in homes]


def _caches() -> List[Path]:
    named = _variable("XDG_CACHE_HOME")
    return list(dict.fromkeys(([named] if named else []) + [_at_home("~/.cache")]))


def _variable(name: str) -> Any:
    value = os.environ.get(name)
    return _at_home(value) if value else None


def _at_home(path: str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises RuntimeError where nobody has that home


def url(model: Model, file: File) -> str:
    """Where the file can be had; empty where it cannot.

    Raises ValueError for what is not a repository, a revision or an address.
    """
    repository = _repository(model)
    if not repository:
        return _matching(_WEB, file["url"], "address") if file.get("url") else ""
    where = (_endpoint(), repository, quote(_revision(model), safe=""), quote(file["path"]))
    return "%s/%s/resolve/%s/%s" % where


def _repository(model: Model) -> str:
    source = model["source"]
    return _matching(_REPOSITORY, source, "repository") if source.startswith("hf:") else ""


def _revision(model: Model) -> str:
    return _matching(_REVISION, model["revision"], "revision")


def _matching(pattern: "re.Pattern[str]", text: str, what: str) -> str:
    match = pattern.fullmatch(text)
    if not match:
        raise ValueError("not a model's %s: %.200r" % (what, text))
    return match.group(match.lastindex or 0)


def _endpoint() -> str:
    # urllib would not send a user and a password, but quote them in what it complains of.
    return _matching(_WEB, _USER.sub("", os.environ.get("HF_ENDPOINT") or HUB), "address").rstrip("/")


def token(model: Model) -> str:
    """The user's token for the source; empty where there is none."""
    if not _repository(model):
        return ""
    said = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or _written_token()
    # One with a line break in it would be quoted by whoever refuses it.
    return said.strip() if _TOKEN.fullmatch(said.strip()) else ""


def _written_token() -> str:
    named = _variable("HF_TOKEN_PATH")
    for path in [named] if named else [home / "token" for home in _hub_homes()]:
        try:
            return str(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return ""


def why(model: Model, file: File, error: Refused) -> str:
    """Say in a sentence why a server does not give the file, and what to do."""
    repository = _repository(model)
    if not repository:
        return "%s answers %d for %s" % (host(url(model, file)), error.status, file["path"])
    page = "%s/%s" % (_endpoint(), repository)
    if error.code == "RepoNotFound":
        return "there is no repository at %s, or it is private and no token in HF_TOKEN may read it" % page
    if error.status in (401, 403):
        return "access is restricted: accept the conditions at %s, and set HF_TOKEN to a token of that account" % page
    if error.code == "RevisionNotFound":
        return "%s has no revision %s" % (page, _revision(model))
    if error.status == 404:
        return "%s has no %s in revision %s" % (page, file["path"], _revision(model))
    return "%s answers %d for %s" % (host(page), error.status, file["path"])


def host(address: str) -> str:
    """The server's name in an address, without what else may be in it."""
    return str(urlsplit(address).hostname or address)

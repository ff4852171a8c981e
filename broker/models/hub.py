"""The Hugging Face hub, as far as pinning asks it: which files a repository has, and what their contents are."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broker import settings as places
from broker.errors import ConfigError, MissingHere, OffloadError, UsageError
from broker.models import catalogue, store
from broker.models.choice import choose
from broker.models.pin import HUB, File, Pin
from broker.settings import Settings
from broker.staging import file_sha256

COMMIT = re.compile(r"[0-9a-f]{40}")


class _NobodyAnswers(OffloadError):
    """The hub cannot be asked."""


def pin(source: str, name: str, settings: Settings) -> Pin:
    """Pin a repository: as the hub has it, or as the user's cache has it where the hub cannot be asked.

    The revision that lies in the user's cache already is preferred to a newer one: nothing need be fetched.
    Raises as `pinning.resolve` does.
    """
    revision = source.partition("@")[2]
    cached = snapshot(source)
    why = ""
    if not settings.offline:
        try:
            return _from_hub(source, name, revision or (cached.name if cached else ""), settings)
        except _NobodyAnswers as error:
            why = str(error)
    if cached:
        return _from_cache(source, name, cached)
    raise catalogue.absent([catalogue.about(source)], why)


def _from_hub(source: str, name: str, revision: str, settings: Settings) -> Pin:
    repository = source.removeprefix(HUB).partition("@")[0]
    endpoint = places.usual().hub
    api = _client(endpoint)
    with _explained(repository, revision, endpoint):
        about = api.model_info(repository, revision=revision or None, files_metadata=True, timeout=30)
        siblings = {one.rfilename: one for one in about.siblings or ()}
        chosen = _chosen(source, siblings)
        files = [_file(api, repository, about.sha, siblings[path], settings) for path in chosen]
    return Pin(source, name, about.sha, tuple(files))


def _client(endpoint: str) -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingHere("huggingface_hub is not installed", "pip install 'offload-broker[models]'") from error
    return HfApi(endpoint=endpoint)


def _chosen(source: str, names: Any) -> list[str]:
    # Code runs only where its user named the very commit, and says so once more at each use.
    named = COMMIT.fullmatch(source.partition("@")[2]) is not None
    chosen = choose(names, code=named or catalogue.about(source).trust_remote_code)
    if not chosen:
        raise UsageError(f"{source} holds no weights: there is no safetensors, .bin or .pt file", "offload models ls")
    return chosen


def _file(api: Any, repository: str, revision: str, sibling: Any, settings: Settings) -> File:
    """A file and its hash, which the hub tells of big ones; a small one is fetched to learn it."""
    if sibling.lfs is not None:
        return File(sibling.rfilename, sibling.lfs.sha256, sibling.lfs.size)
    with tempfile.TemporaryDirectory(prefix="offload-pin-") as folder:
        got = Path(api.hf_hub_download(repository, sibling.rfilename, revision=revision, local_dir=folder))
        return File(sibling.rfilename, store.keep(settings, got), got.stat().st_size)


@contextmanager
def _explained(repository: str, revision: str, endpoint: str) -> Iterator[None]:
    from huggingface_hub import errors

    page = f"{endpoint}/{repository}"
    try:
        yield
    except errors.GatedRepoError as error:
        said = f"{repository} is gated: its owner asks you to agree to its terms first"
        raise ConfigError(said, f"agree at {page}, then set HF_TOKEN to a token of yours") from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(f"{repository} has no revision {revision}", f"look at {page}/commits/main") from error
    except errors.RepositoryNotFoundError as error:
        said = f"there is no repository {repository} at {endpoint}; a private one needs HF_TOKEN"
        raise UsageError(said, "offload models ls") from error
    except errors.HFValidationError as error:
        raise UsageError(f"{repository} cannot be a repository's name", "offload models ls") from error
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]  # that of httpx, or its successor
        raise _NobodyAnswers(f"{endpoint} cannot be asked: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


def snapshot(source: str) -> Path | None:
    """The folder of a repository's revision in a cache of the user's, if its weights are there."""
    revision = source.partition("@")[2] or "main"
    for cache in places.usual().hub_caches:
        home = cache / store.repository(source)
        reference = home / "refs" / revision
        commit = reference.read_text("utf-8").strip() if reference.is_file() else revision
        folder = home / "snapshots" / commit
        if folder.is_dir() and choose(_names(folder)):
            return folder
    return None


def _names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _from_cache(source: str, name: str, folder: Path) -> Pin:
    paths = [(path, folder / path) for path in _chosen(source, _names(folder))]
    files = [File(path, file_sha256(where), where.stat().st_size) for path, where in paths]
    return Pin(source, name, folder.name, tuple(files))

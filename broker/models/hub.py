"""The Hugging Face hub, as far as pinning asks it: which files a repository has, and what their contents are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from broker import settings as places
from broker.errors import ConfigError, IntegrityError, MissingHere, OffloadError, UsageError
from broker.models import cached, catalogue, taking
from broker.models.choice import choose
from broker.models.pin import HUB, File, Pin
from broker.models.said import Tell, reason, silent
from broker.settings import Settings
from broker.staging import file_sha256

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
TRIES = 3
"""How often a small file is asked for, when its transfer breaks off."""


class _NobodyAnswers(OffloadError):
    """The hub cannot be reached."""


class _Unwilling(OffloadError):
    """The hub answers, though not with what it was asked for."""


def pin(source: str, name: str, settings: Settings, tell: Tell = silent) -> Pin:
    """Pin a repository: as the hub has it, or as the user's cache has it where the hub cannot be reached.

    The revision that lies in the user's cache already is preferred to a newer one: nothing need be fetched.
    Raises as `pinning.resolve` does.
    """
    lying, why = cached.snapshot(source), ""
    if not settings.offline:
        revision = source.partition("@")[2] or (lying.name if lying else "")
        try:
            return _from_hub(source, name, revision, settings, tell)
        except _NobodyAnswers as error:
            why = str(error)
        except _Unwilling as error:
            ways = "try again later" + (", or with OFFLOAD_OFFLINE=1: it lies in your cache" if lying else "")
            raise MissingHere(f"{name} cannot be had now: {error}", ways) from error
    if lying:
        return _from_cache(source, name, lying)
    raise catalogue.absent([catalogue.about(source)], why)


def _from_hub(source: str, name: str, revision: str, settings: Settings, tell: Tell) -> Pin:
    repository = source.removeprefix(HUB).partition("@")[0]
    api = _client(_endpoint())
    commit, siblings = _described(api, repository, revision)
    chosen = [siblings[path] for path in _chosen(source, siblings)]
    taking.check_room(settings, sum(one.size or 0 for one in chosen if one.lfs is None))
    return Pin(source, name, commit, tuple(_file(api, repository, commit, one, settings, tell) for one in chosen))


def _endpoint() -> str:
    endpoint = places.usual().hub
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    except ValueError:
        good = None
    if not good:  # which may hold a password: it is not repeated
        raise ConfigError("HF_ENDPOINT is no address of a hub", "unset HF_ENDPOINT, or set it to https://HOST")
    return endpoint


def _client(endpoint: str) -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingHere("huggingface_hub is not installed", "pip install 'offload-broker[models]'") from error
    return HfApi(endpoint=endpoint)


def _described(api: Any, repository: str, revision: str) -> tuple[str, dict[str, Any]]:
    """The commit that a revision is, and what the hub tells of each of its files."""
    try:
        with _explained(repository, revision, api.endpoint):
            about = api.model_info(repository, revision=revision or None, files_metadata=True, timeout=30)
        siblings = {str(one.rfilename): one for one in about.siblings or ()}
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # its client expects what it was promised
        raise _nonsense(api, repository, "its answer makes no sense") from error
    if not COMMIT.fullmatch(str(about.sha)) or (COMMIT.fullmatch(revision) and about.sha != revision):
        raise _nonsense(api, repository, f"its commit is given as {str(about.sha)[:60]!r}")
    return about.sha, siblings


def _nonsense(api: Any, repository: str, why: str) -> IntegrityError:
    said = f"what {api.endpoint} says of {repository} cannot be: {why}"
    return IntegrityError(said, f"look at {api.endpoint}/{repository}; is HF_ENDPOINT right?")


def _chosen(source: str, names: Any) -> list[str]:
    # Code runs only where its user named the very commit, and says so once more at each use.
    named = COMMIT.fullmatch(source.partition("@")[2]) is not None
    chosen = choose(names, code=named or catalogue.about(source).trust_remote_code)
    if not chosen:
        raise UsageError(f"{source} holds no weights: there is no safetensors, .bin or .pt file", "offload models ls")
    return chosen


def _file(api: Any, repository: str, revision: str, told: Any, settings: Settings, tell: Tell) -> File:
    """A file and its hash, which the hub tells of big ones; a small one is fetched to learn it."""
    size = told.size if told.lfs is None else told.lfs.size
    if (size is not None or told.lfs) and not (type(size) is int and size >= 0):
        raise _nonsense(api, repository, f"{told.rfilename} has {str(size)[:60]!r} bytes")
    if told.lfs is None:
        sha256, got = _fetched(api, repository, revision, told, settings, tell)
        if size not in (None, got):
            raise _nonsense(api, repository, f"{told.rfilename} has {got} bytes, not {size}")
        return File(told.rfilename, sha256, got)
    if not SHA256.fullmatch(str(told.lfs.sha256)):
        raise _nonsense(api, repository, f"the sha256 of {told.rfilename} is given as {str(told.lfs.sha256)[:60]!r}")
    return File(told.rfilename, told.lfs.sha256, size)


def _fetched(
    api: Any, repository: str, revision: str, told: Any, settings: Settings, tell: Tell, tries: int = TRIES
) -> tuple[str, int]:
    pieces = _pieces(api, repository, revision, told.rfilename)
    shown = taking.metered(pieces, f"{repository}: {told.rfilename}", told.size, tell)
    try:
        return taking.take(settings, shown, told.size)
    except _NobodyAnswers:
        if tries == 1:
            raise
    return _fetched(api, repository, revision, told, settings, tell, tries - 1)


def _pieces(api: Any, repository: str, revision: str, path: str) -> Iterator[bytes]:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, though not said to be exported
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    url = hf_hub_url(repository, path, revision=revision, endpoint=api.endpoint)
    with (
        _explained(repository, revision, api.endpoint),
        get_session().stream("GET", url, headers=build_hf_headers(), timeout=taking.ANSWER_SECONDS) as answer,
    ):
        hf_raise_for_status(answer)
        yield from answer.iter_bytes()


@contextmanager
def _explained(repository: str, revision: str, endpoint: str) -> Iterator[None]:
    """What the hub's client raises, as an error for people. That of a disk of ours is none of these."""
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
    except errors.HfHubHTTPError as error:
        raise _Unwilling(f"{endpoint} answers: {reason(error)}") from error
    except (errors.HTTPError, ConnectionError) as error:  # type: ignore[attr-defined]  # that of httpx, or its successor
        raise _NobodyAnswers(f"{endpoint} cannot be asked: {reason(error)}") from error


def _from_cache(source: str, name: str, folder: Path) -> Pin:
    paths = [(path, folder / path) for path in _chosen(source, cached.names(folder))]
    files = [File(path, file_sha256(where), where.stat().st_size) for path, where in paths]
    return Pin(source, name, folder.name, tuple(files))

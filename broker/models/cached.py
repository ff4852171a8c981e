"""Repositories in the caches of the hub's own client, which fetches a file when it is first asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from broker import settings as places
from broker.models import store
from broker.models.choice import INDEX, choose

SHARD = re.compile(r"(.+)-(\d+)-of-(\d{1,5})(\.[a-z]+)")


def snapshot(source: str) -> Path | None:
    """The folder of a repository's revision in a cache of the user's, if all its weights are there."""
    revision = source.partition("@")[2] or "main"
    for cache in places.usual().hub_caches:
        home = cache / store.repository(source)
        reference = home / "refs" / revision
        commit = reference.read_text("utf-8").strip() if reference.is_file() else revision
        folder = home / "snapshots" / commit
        if folder.is_dir() and _is_whole(folder):
            return folder
    return None


def names(folder: Path) -> list[str]:
    """The files in a folder and below, by their paths from there."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _is_whole(folder: Path) -> bool:
    """Whether there are weights, and none is missing of which others, or an index, tell."""
    there = names(folder)
    chosen = choose(there)
    try:
        told = {file for name in there if "/" not in name and INDEX.fullmatch(name) for file in _indexed(folder / name)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # half of an index, or something else
        return False
    return bool(chosen) and not (told | _beside(chosen)).difference(there)


def _indexed(index: Path) -> Iterable[str]:
    files: dict[str, str] = json.loads(index.read_bytes())["weight_map"]
    return files.values()


def _beside(chosen: Iterable[str]) -> set[str]:
    """What belongs to shards of weights: all the others, and their index."""
    found: set[str] = set()
    for shard in filter(None, map(SHARD.fullmatch, chosen)):
        stem, number, count, suffix = shard.groups()
        found.add(f"{stem}{suffix}.index.json")
        found |= {f"{stem}-{one:0{len(number)}d}-of-{count}{suffix}" for one in range(1, int(count) + 1)}
    return found

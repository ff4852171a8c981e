"""Payloads: what preparations made of inputs, kept in the cache by content, so that the next job finds it there.

prepared/<sha256>/<name>     a payload
prepared/<key>.json          which one a preparation makes of an input
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from broker.errors import LimitError
from broker.job import Item, Job, Payload
from broker.journal import Journal
from broker.scripts import bundle
from broker.settings import Settings

DAY_SECONDS = 86400.0


def prepared(settings: Settings, journal: Journal) -> Payloads:
    """The payloads that are kept here."""
    return Payloads(settings.cache_dir / "prepared", journal)


@dataclass(frozen=True)
class Payloads:
    """The payloads in a folder, which may be deleted at any time: they are then made again."""

    folder: Path
    journal: Journal

    def stand_in(self, item: Item) -> Item | None:
        """The item, with its payload in place of its input; None where that is not here, or not as it was."""
        if item.payload is None:
            return None
        path = self._path(item.payload)
        with suppress(OSError):  # not here
            found, sha256 = self.journal.hashes.identify(path)
            if sha256 == item.payload.sha256:
                return replace(item, source=path, file_id=found, sha256=sha256)
        return None

    def known(self, job: Job, item: Item) -> Payload | None:
        """What the job's preparation made of the same input before, if it is here."""
        with suppress(OSError, ValueError, TypeError):  # whatever is wrong with it: it is made again
            note = self._note(job, item)
            payload = Payload(**json.loads(note.read_text("utf-8")))
            if self.stand_in(replace(item, payload=payload)):
                for used in (note, self._path(payload).parent):
                    os.utime(used)  # young again to `sweep`
                return payload
        return None

    def keep(self, job: Job, item: Item, payload: Payload, fetch: Callable[[Path], None]) -> None:
        """Keep what `fetch` brings, checked, to the path it is given. Raises as it does, LimitError without room."""
        try:
            self._bring(self._path(payload), fetch)
            self._bring(self._note(job, item), lambda draft: draft.write_text(json.dumps(asdict(payload))))
        except OSError as error:
            what = f"what was prepared of {item.source} cannot be kept in {self.folder}: {error.strerror}"
            raise LimitError(what, "make room there, or name another folder in OFFLOAD_CACHE_DIR") from error

    def _bring(self, place: Path, fetch: Callable[[Path], object]) -> None:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = place.with_name(f".{secrets.token_hex(4)}.part")
        try:
            fetch(draft)
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)

    def sweep(self, days: float) -> None:
        """Delete what was made more than `days` ago."""
        for entry in self.folder.iterdir() if self.folder.is_dir() else ():
            with suppress(OSError):  # another process was quicker
                if time.time() - entry.stat().st_mtime > days * DAY_SECONDS:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def _path(self, payload: Payload) -> Path:
        return self.folder / payload.sha256 / payload.name

    def _note(self, job: Job, item: Item) -> Path:
        assert job.prepare is not None, "a job without a preparation has no payloads"
        how = [str(bundle(job.prepare.script).id), job.prepare.script.name, dict(job.prepare.params), dict(job.limits)]
        made = json.dumps([item.sha256, dict(item.options), *how], sort_keys=True)
        return self.folder / f"{hashlib.sha256(made.encode()).hexdigest()}.json"

"""Payloads: what preparations made of inputs, kept in the cache by content, so that the next job finds it there.

prepared/<sha256>/<name>     a payload
prepared/<key>.json          which one a preparation makes of an input
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from broker.job import FileId, Item, Job, Payload
from broker.scripts import bundle

DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class Payloads:
    """The payloads in a folder, which may be deleted at any time: they are then made again."""

    folder: Path

    def stand_in(self, item: Item) -> Item | None:
        """The item, with its payload in place of its input; None where that is not here, or not as it was."""
        if item.payload is None:
            return None
        path = self._path(item.payload)
        with suppress(OSError):  # not here
            found = FileId.of(path)
            if found.size == item.payload.size:
                return replace(item, source=path, file_id=found, sha256=item.payload.sha256)
        return None

    def known(self, job: Job, item: Item) -> Payload | None:
        """What the job's preparation made of the same input before, if it is here."""
        with suppress(OSError, ValueError, TypeError):  # whatever is wrong with it: it is made again
            payload = Payload(**json.loads(self._note(job, item).read_text("utf-8")))
            return payload if self.stand_in(replace(item, payload=payload)) else None
        return None

    def keep(self, job: Job, item: Item, payload: Payload, fetch: Callable[[Path], None]) -> None:
        """Keep what `fetch` brings, checked, to the path it is given. Raises what it raises, and OSError."""
        place = self._path(payload)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = place.with_name(f".{secrets.token_hex(4)}.part")
        try:
            fetch(draft)
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)
        note = self._note(job, item)
        draft = note.with_suffix(f".{secrets.token_hex(4)}.tmp")
        draft.write_text(json.dumps(asdict(payload)))
        draft.replace(note)

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

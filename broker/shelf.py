"""What is kept of what a job asks for: its items that were made before, by machines as good as those it may go to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from broker import staging
from broker.backup import SHARED
from broker.errors import InputError
from broker.job import FileId, Item, Job, Output, Request, State
from broker.journal import Journal
from broker.keeping import results
from broker.result_keys import ANYWHERE, Keys, here_now, latest
from broker.result_rows import Result
from broker.settings import Settings
from broker.targets import LOCAL, Target, choose

Known = Mapping[Path, tuple[str, int]]
"""The sha256 and size of inputs that need not be looked at: they may not be here yet."""


class Shelf:
    """The results that are kept, as a job sees them."""

    def __init__(self, settings: Settings, targets: Mapping[str, Target], journal: Journal) -> None:
        self.results = results(settings, journal)
        self._settings = settings
        self._targets = targets
        self._journal = journal

    def may_answer(self, told: Job | Request) -> bool:
        """Whether a job may be answered with them. One that is to `keep` its folder wants it to be there."""
        return bool(self._settings.result_bytes) and told.cache and not told.keep

    def kinds(self, job: Job) -> list[str]:
        """The kinds of machine whose results are as good as what the job's targets would make, the first's first."""
        if job.contract == "bytes":
            return [ANYWHERE]
        allowed = [target.name for target in choose(self._targets, job.on)][: None if job.fallback else 1]
        kinds = {name: latest(self.results.rows.kinds(job.service, name)) for name in allowed}
        kinds |= {LOCAL: [*map(here_now, kinds[LOCAL])]} if LOCAL in kinds else {}
        return list(dict.fromkeys(kind for name in allowed for kind in kinds[name]))

    def find(self, item: Item, keys: Keys, kinds: Sequence[str]) -> Result | None:
        """What was made of an item before."""
        with suppress(InputError):  # an input that is not what it was is for the attempt to tell of
            staging.check_unchanged(item)
            return self._kept(item, keys, kinds)
        return None

    def _kept(self, item: Item, keys: Keys, kinds: Sequence[str]) -> Result | None:
        found = (self.results.rows.find(keys.of(item, kind)) for kind in kinds)
        return next((result for result in found if result), None)

    def answers(self, request: Request, digests: Mapping[str, str], known: Known) -> list[Path]:
        """The inputs of a request, of which nothing is recorded yet, that would be answered. Raises OSError.

        Those that are `known` need not be here.
        """
        if not self.may_answer(request) or not self.results.rows.any(request.service):
            return []  # and nothing need be hashed
        job = self._provisional(request, digests, known)
        keys, kinds = Keys(job), self.kinds(job)
        found = [(item, self._kept(item, keys, kinds)) for item in job.items] if keys.known else []
        return [item.source for item, result in found if result and self.results.has(result)]

    def _provisional(self, request: Request, digests: Mapping[str, str], known: Known) -> Job:
        items = []
        for index, entry in enumerate(request.inputs):
            outputs = tuple(Output(name, dest) for name, dest in entry.outputs.items())
            items.append(Item(index, entry.source, *self._identity(entry.source, known), entry.options, outputs))
        about = {name: getattr(request, name) for name in SHARED} | {"digests": digests}
        limits = self._settings.limits
        return Job(id="", limits=limits, state=State.QUEUED, created=0.0, items=tuple(items), **about)

    def _identity(self, source: Path, known: Known) -> tuple[FileId, str]:
        if source not in known:
            return self._journal.hashes.identify(source)
        sha256, size = known[source]
        return FileId(size, 0, 0), sha256

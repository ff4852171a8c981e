"""The planner: from a job, or a request of which nothing is recorded yet, to the targets in the order to try them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from broker import models, placement, rules, targets
from broker.errors import InputError, OffloadError, UsageError
from broker.job import FileId, Job, Request
from broker.journal import Journal
from broker.models import pinning
from broker.models.pin import PATH, Pin
from broker.plan import Candidate, plan
from broker.settings import Settings
from broker.shelf import Known, Shelf
from broker.targets import Target
from broker.work import Load, Work
from executors.base import ExecutorError, Probe
from executors.unasked import OFFLINE


def sources(told: Job | Request) -> list[Path]:
    """All files of the user's that a job brings to its target: its inputs, and those among its models."""
    inputs = told.inputs if isinstance(told, Request) else told.items
    own = [Path(source.removeprefix(PATH)) for source in told.models.values() if source.startswith(PATH)]
    return [*(entry.source for entry in inputs), *(file for path in own for file in _files(path))]


def _files(path: Path) -> list[Path]:
    with suppress(OSError):  # what cannot be read, the job itself tells
        return [path, *pinning.own_files(path).values()]
    return [path]


def _closed(target: Target, why: str) -> Candidate:
    return Candidate(target, Probe(False, why, exit_code=UsageError.exit_code), why, 0)


class Planner:
    """Plans, from the targets, the rules and what the journal has measured."""

    def __init__(self, known: Mapping[str, Target], journal: Journal, settings: Settings) -> None:
        self._targets = known
        self._journal = journal
        self._settings = settings

    def plan(self, chosen: Iterable[Target], input_bytes: int, offline: bool) -> list[Candidate]:
        """Ask the targets, in their order. While `offline`, only this machine is."""
        asked = [targets.unasked(target) for target in chosen] if offline else chosen
        return plan(asked, input_bytes, self._journal.health.probe)

    def allowed(self, told: Job | Request) -> list[Target]:
        """The targets that `--on` means, less those that a rule forbids.

        Raises UsageError for an unknown one, Forbidden where a rule forbids it, ConfigError for a rule that is wrong.
        """
        chosen = targets.choose(self._targets, told.on)
        if not self._settings.rules:
            return chosen
        rules.check(self._settings.rules, self._targets, self._file)
        return self._ruled(told, chosen)

    @property
    def _file(self) -> Path:
        return self._settings.config_dir / "config.toml"

    def _ruled(self, told: Job | Request, chosen: Sequence[Target]) -> list[Target]:
        names = [target.name for target in chosen]
        left = rules.allowed(self._settings.rules, names, told.on, told.service, sources(told), self._file)
        return [target for target in chosen if target.name in left]

    def check(self, request: Request) -> None:
        """Raise as `allowed`, and UsageError for what waits for another machine where none can ever have it."""
        self.allowed(request)
        if not request.waits:
            return
        others = [one for one in targets.choose(self._targets, request.on) if one.name != targets.LOCAL]
        why = "--when remote waits for another machine than this one"
        if not others:
            raise UsageError(f"{why}, and none is configured", "offload targets add --help")
        try:
            left = self._ruled(request, others)
        except rules.Forbidden as error:
            raise rules.Forbidden(f"{why}, but {error}", f"leave out --when remote, or edit {self._file}") from error
        if all((targets.unasked(one) if request.offline else one).kind == OFFLINE for one in left):
            raise UsageError(f"{why}, and none is asked while offline", "leave out --offline, or --when remote")

    def of(self, job: Job) -> list[Candidate]:
        """The plan for what is left of a job: where it runs comes first. Raises as `allowed`."""
        attempts = self._journal.attempts(job.id)
        if not job.open_items and all(attempt.state != "running" for attempt in attempts):
            return []  # nobody needs to be asked
        candidates = self._placed(job, Work.of(job), job.offline)
        latest = [attempt for attempt in attempts if not attempt.prepares][-1:]
        running = {attempt.target for attempt in latest if attempt.state == "running"}
        return sorted(candidates, key=lambda candidate: candidate.target.name not in running)

    def here(self) -> Candidate:
        """This machine, where every job is prepared."""
        target = self._targets[targets.LOCAL]
        return Candidate(target, self._journal.health.probe(target), "preparing the inputs", 0)

    def preview(self, request: Request, amounts: Sequence[float | None], known: Known | None = None) -> list[Candidate]:
        """The plan for a request; `amounts` is how much work each input is.

        A link of which nothing is known is tried, unless its machine is rented: none is ever taken for that.
        Targets that may not have it come last, unasked, with why. Raises as `allowed`, and InputError.
        """
        self.check(request)
        inputs, offline = [entry.source for entry in request.inputs], request.offline or self._settings.offline
        loads = [self._load(source, amount, known or {}) for source, amount in zip(inputs, amounts, strict=True)]
        work = Work.made(request, loads, self._digests(request))
        if self._settings.worth and not offline:
            self._try_links(self.plan(self.allowed(request), 0, offline))
        barred = self._barred(request)
        found = [one for one in self._placed(request, work, offline) if one.target.name not in barred]
        if len(found) == 1 and barred:
            found = [replace(found[0], reason="no other target may have it")]
        return found + [_closed(self._targets[name], why) for name, why in barred.items()]

    def _barred(self, request: Request) -> dict[str, str]:
        """The targets that `--on` means but may not have a request, each with why."""
        names = [target.name for target in targets.choose(self._targets, request.on)]
        every = self._settings.rules
        numbers = rules.forbidden(every, names, request.service, sources(request))
        found = {name: rules.sentence(number, every[number - 1], name, self._file) for name, number in numbers.items()}
        if request.waits and targets.LOCAL in names:
            found.setdefault(targets.LOCAL, "--when remote waits for another machine than this one")
        return found

    def made_before(self, request: Request, known: Known | None = None) -> list[Path]:
        """The inputs of a request that would not be worked on: what is made of them is kept. Raises InputError."""
        shelf = Shelf(self._settings, self._targets, self._journal)
        try:
            return shelf.answers(request, self._digests(request), known or {})
        except OSError as error:
            raise InputError(f"{error.filename}: {error.strerror}") from error

    def _placed(self, told: Job | Request, work: Work, offline: bool) -> list[Candidate]:
        found = self.plan(self.allowed(told), sum(work.blobs.values()), offline)
        here = self._targets[targets.LOCAL]
        return placement.place(found, work, told.on, self._settings, self._journal.history, here, sources(told))

    def _load(self, source: Path, amount: float | None, known: Known) -> Load:
        if source in known:
            return Load(source, *known[source], amount)
        try:
            if self._journal.history.any_sent():
                file_id, sha256 = self._journal.hashes.identify(source)
            else:  # what lies nowhere need not be hashed to learn that
                file_id, sha256 = FileId.of(source), str(source)
        except OSError as error:
            raise InputError(f"{source}: {error.strerror}") from error
        return Load(source, sha256, file_id.size, amount)

    def _digests(self, request: Request) -> dict[str, str]:
        """What the models are now, as far as that is settled: nobody is asked."""
        found = {role: self._settled(source) for role, source in request.models.items()}
        return {role: pin.digest for role, pin in found.items() if pin}

    def _settled(self, source: str) -> Pin | None:
        if not source.startswith(PATH):
            return pinning.known(source, self._settings)
        with suppress(OffloadError):  # the job itself will tell
            return models.resolve(source, self._settings, hashing=lambda path: self._journal.hashes.identify(path)[1])
        return None

    def _try_links(self, candidates: Iterable[Candidate]) -> None:
        from broker.sample import sample  # no job needs it

        history = self._journal.history
        for one in candidates:
            if one.shared or not one.probe.reachable or one.target.rented() or history.of(one.target):
                continue
            with suppress(ExecutorError, OffloadError):  # then the shipped prior has to do
                history.observe(one.target, sample(one.target.executor()))

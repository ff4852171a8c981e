"""Short visits to targets, apart from driving a job: to end, find or tidy up what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from broker import orphans, staging
from broker.agent import Agent
from broker.errors import OffloadError
from broker.job import Attempt, Remains
from broker.journal import Journal
from broker.ledger import Ledger
from broker.scripts import bundle, environment, runner
from broker.settings import Settings
from broker.targets import Target
from executors.base import ExecutorError, Gone, NoSuchFile


class Contact:
    """The targets, as they are visited."""

    def __init__(self, journal: Journal, targets: Mapping[str, Target], settings: Settings) -> None:
        self._journal = journal
        self._targets = targets
        self._settings = settings

    @contextmanager
    def visit(self, target: Target, script: Path | None = None) -> Iterator[Agent]:
        """Speak with a target's runner, of the version that goes with `script`. Raises ExecutorError."""
        executor = target.executor()
        executor.returning = True
        with executor:
            agent = Agent(executor, bundle(script or runner()))
            agent.install()
            yield agent

    def check(self, target: Target, script: Path) -> None:
        """Raise MissingHere, with the command that helps, when a target lacks what a script needs."""
        with self.visit(target, script) as agent:
            agent.prepare(environment(script, ()))

    def end(self, attempts: Iterable[Attempt], delete: bool = False) -> list[str]:
        """End attempts where they run, and `delete` what they left; returns the targets that could not be told.

        What is to be deleted on a target that is not configured any more is out of our hands.
        """
        silent = []
        for attempt in attempts:
            try:
                if attempt.target in self._targets:
                    self._end(attempt, delete)
                elif not delete:
                    silent.append(attempt.target)
            except Gone:
                self._journal.cleaned(attempt)
            except ExecutorError:
                silent.append(attempt.target)
        return silent

    def _end(self, attempt: Attempt, delete: bool) -> None:
        with self.visit(self._targets[attempt.target], self._journal.job(attempt.job).script) as agent:
            agent.cancel(attempt.remote, self._settings.cancel_grace)
            if delete:
                agent.ack(attempt.remote)
                self._journal.cleaned(attempt)

    def sweep(self, ledger: Ledger) -> None:
        """End what a job's given up attempts left on targets that are back."""
        for attempt in ledger.attempts:
            target = self._targets.get(attempt.target)
            if attempt.remains is Remains.ORPHAN and target and self._journal.health.probe(target).reachable:
                self.end([attempt], delete=True)

    def search(self, ledger: Ledger, among: Iterable[Target]) -> None:
        """Look for a job whose attempts the journal has lost. A target that cannot be asked is passed over."""
        for target in among:
            with suppress(ExecutorError, OffloadError), self.visit(target, ledger.job.script) as agent:
                orphans.adopt(ledger, agent, target.name)

    def leftovers(self, target: Target) -> list[str]:
        """Jobs of ours on a target, by their names there, that the journal knows nothing of. Raises ExecutorError."""
        if _holds_nothing(target):
            return []
        with self.visit(target) as agent:
            return self._strangers(agent)

    def clean(self, target: Target) -> int:
        """End and delete what nobody waits for on a target; returns how much that was. Raises ExecutorError."""
        if _holds_nothing(target):
            self._journal.machine_gone(target.name)
            return 0
        with self.visit(target) as agent:
            strangers = self._strangers(agent)
            for name in strangers:
                agent.cancel(name, self._settings.cancel_grace)
                agent.ack(name)
            return len(strangers) + orphans.clean(self._journal, agent, target.name)

    def _strangers(self, agent: Agent) -> list[str]:
        return orphans.strangers(self._journal, agent, orphans.client(self._settings.state_dir))

    def log(self, attempt: Attempt) -> str:
        """What the script of a running attempt has said so far."""
        target = self._targets.get(attempt.target)
        if target is None:
            return f"the target {attempt.target} is not configured any more\n"
        executor = target.executor()
        executor.returning = True
        try:
            with executor:
                return staging.fetch_text(executor, f"jobs/{attempt.remote}/log.txt")
        except NoSuchFile:
            return "nothing yet\n"
        except ExecutorError as error:
            return f"the log cannot be had: {error}\n"


def _holds_nothing(target: Target) -> bool:
    """Whether a target rents its machine and has none: then nothing of ours can be there."""
    rented = target.rented()
    return rented is not None and rented.held() is None

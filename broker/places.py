"""Places: where a job that waits could run, as far as is known without asking anybody."""

from __future__ import annotations

import time
from contextlib import suppress

from broker import targets
from broker.broker import Broker
from broker.errors import ConfigError, UsageError
from broker.queue import Head
from broker.rules import Forbidden
from broker.targets import LOCAL, Target
from executors.unasked import OFFLINE

STUCK = 8
"""Followers that wait for what they began, beside those that can run: on a full disk there would be ever more."""


class Places:
    """The targets, as those who wait see them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def allowed(self, head: Head) -> list[Target]:
        """Where it may run by what was asked for. None where that names no target any more, or a rule is wrong."""
        try:
            found = self._chosen(head)
        except (UsageError, ConfigError):
            return []
        found = [targets.unasked(target) for target in found] if head.offline else found
        waits = bool(head.waits) and not head.late
        return [target for target in found if not (waits and target.name == LOCAL)]

    def _chosen(self, head: Head) -> list[Target]:
        found = targets.choose(self._broker.targets, head.on)
        with suppress(Forbidden):  # everywhere: whoever drives it ends it, and says why
            return self._broker.allowed(self._broker.journal.job(head.id)) if self._broker.settings.rules else found
        return found

    def _wrong(self, head: Head) -> str:
        """What must be mended before it can be told where it may run."""
        try:
            self._chosen(head)
        except ConfigError as error:
            return str(error)
        except UsageError:  # it names a target that was removed
            return ""
        return ""

    def away(self, head: Head) -> list[Target]:
        """Targets to be asked before anything of it can start: all it has, while none of them is known to answer."""
        allowed = self.allowed(head)
        return [] if self._open(head, allowed) else [one for one in allowed if one.kind != OFFLINE]

    def has_room(self, head: Head, driven: set[str]) -> bool:
        """Whether a follower may be started for it: as many as can run there, and one that waits."""
        slots = sum(target.jobs for target in self._open(head, self.allowed(head)))
        if head.late and not slots and not self._wrong(head):
            slots = 1  # to end it, and say why
        count, stuck = self._broker.journal.queue.crew(head, driven)
        return slots > 0 and count - min(stuck, STUCK) < slots + 1

    def why(self, head: Head) -> str:
        """What it waits for, in a few words; empty when it is only its turn."""
        allowed = self.allowed(head)
        if self._open(head, allowed):
            return ""
        if wrong := self._wrong(head):
            return f"waiting for a change: {wrong}"
        until = f", at most until {_clock(head.deadline)}" if head.waits and head.deadline else ""
        what = " or ".join(map(self._told, allowed)) or "a target: none is configured that may take it"
        return f"waiting for {what}{until}"

    def _told(self, target: Target) -> str:
        if target.kind == OFFLINE:
            return f"{target.name} (nobody is asked: it is offline)"
        probe = self._broker.journal.health.recent(target)
        return f"{target.name} ({probe.reason})" if probe and probe.reason else target.name

    def _open(self, head: Head, allowed: list[Target]) -> list[Target]:
        """Those that may take it now. One of which nothing is known is tried, but not by who only waits for it."""
        return [target for target in allowed if self._answers(head, target)]

    def _answers(self, head: Head, target: Target) -> bool:
        if target.kind == OFFLINE or target.name == LOCAL:
            return target.kind != OFFLINE
        probe = self._broker.journal.health.recent(target)
        return (not head.waits or head.late) if probe is None else probe.reachable


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))

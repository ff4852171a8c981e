"""Places: where a job that waits could run, as far as is known without asking anybody."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
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


DEEPER, DEEPEST = 16, 4096
"""How many times more jobs are looked at where none has a place, and how many of a session and kind at most."""


class Places:
    """The targets, as those who wait see them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._known: dict[str, list[Target] | UsageError | ConfigError] = {}

    def heads(self, driven: Collection[str], but: str = "") -> list[Head]:
        """The queue's heads, and behind those that rules leave no place, the first that have one."""
        depth = self._broker.journal.queue.depth
        found = self._broker.journal.queue.heads(driven, but)
        while 1 < depth < DEEPEST and self._hide_others(found):
            depth *= DEEPER
            found = self._broker.journal.queue.heads(driven, but, depth=depth)
        return found

    def _hide_others(self, heads: Sequence[Head]) -> bool:
        placed = {head.kind for head in heads if self.has_place(head)}
        return any(head.count > 1 and head.kind not in placed for head in heads)

    def has_place(self, head: Head) -> bool:
        """Whether there is a target that may have it, and may be there now."""
        return bool(self._open(head, self.allowed(head)))

    def allowed(self, head: Head) -> list[Target]:
        """Where it may run by what was asked for. None where that names no target any more, or a rule is wrong."""
        found = self._chosen(head)
        if isinstance(found, UsageError | ConfigError):
            return []
        found = [targets.unasked(target) for target in found] if head.offline else found
        waits = bool(head.waits) and not head.late
        return [target for target in found if not (waits and target.name == LOCAL)]

    def _chosen(self, head: Head) -> list[Target] | UsageError | ConfigError:
        if head.id not in self._known:
            try:
                self._known[head.id] = self._ruled(head)
            except (UsageError, ConfigError) as error:
                self._known[head.id] = error
        return self._known[head.id]

    def _ruled(self, head: Head) -> list[Target]:
        found = targets.choose(self._broker.targets, head.on)
        with suppress(Forbidden):  # everywhere: whoever drives it ends it, and says why
            return self._broker.allowed(self._broker.journal.job(head.id)) if self._broker.settings.rules else found
        return found

    def wrong(self, head: Head) -> str:
        """What must be mended before it can be told where it may run; empty for a target that was removed."""
        found = self._chosen(head)
        return str(found) if isinstance(found, ConfigError) else ""

    def away(self, head: Head) -> list[Target]:
        """Targets to be asked before anything of it can start: all it has, while none of them is known to answer."""
        allowed = self.allowed(head)
        return [] if self._open(head, allowed) else [one for one in allowed if one.kind != OFFLINE]

    def has_room(self, head: Head, driven: set[str]) -> bool:
        """Whether a follower may be started for it: as many as can run there, and one that waits."""
        slots = sum(target.jobs for target in self._open(head, self.allowed(head)))
        if head.late and not slots and not self.wrong(head):
            slots = 1  # to end it, and say why
        count, stuck = self._broker.journal.queue.crew(head, driven)
        return slots > 0 and count - min(stuck, STUCK) < slots + 1

    def why(self, head: Head) -> str:
        """What it waits for, in a few words; empty when it is only its turn."""
        allowed = self.allowed(head)
        if self._open(head, allowed):
            return ""
        if wrong := self.wrong(head):
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

"""What a person sees on stderr while a job runs: a bar on a terminal, a line now and then elsewhere, or nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from broker.events import Event, ItemFailed, Note, Progress, Published, Started
from services.base.text import near, plain

LINE_SECONDS = 5.0
NAME_CHARS = 32

Describe = Callable[[Mapping[str, Any]], str]
"""What a script measured -> a few words for a person."""


class Display(Protocol):
    """Shows events. A context, so that a bar is always taken off the screen."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Take notice of an event."""


def say(line: str) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr, flush=True)


class Quiet:
    """Shows only what failed. `names` are the items', fit to be shown."""

    def __init__(self, names: Sequence[str], describe: Describe) -> None:
        self.names = names
        self.describe = describe

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to take away."""

    def show(self, event: Event) -> None:
        """Say what failed."""
        if isinstance(event, ItemFailed):
            self.say(f"{self.names[event.index]}: {plain(event.error)}")

    def say(self, line: str) -> None:
        """Print a line that is fit to be shown."""
        say(line)


class Lines(Quiet):
    """A line for what matters, and one on progress every few seconds."""

    _said = 0.0

    def show(self, event: Event) -> None:
        """Print a line, unless one on progress was printed a moment ago."""
        super().show(event)
        match event:
            case Started(target, reason):
                self._said = time.monotonic()
                self.say(f"running on {target}: {plain(reason)}")
            case Note(message, index):
                self.say(plain(message) if index is None else f"{self.names[index]}: {plain(message)}")
            case Progress():
                self._progress(event)
            case Published(index, paths, measured):
                found = plain(self.describe(measured))
                self.say(f"{self.names[index]} -> {', '.join(map(near, paths))}" + (f" ({found})" if found else ""))

    def _progress(self, event: Progress) -> None:
        if time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            self.say(f"{self._name(event.index)}: {describe(event)}")

    def _name(self, index: int) -> str:
        count = len(self.names)
        return f"[{index + 1}/{count}] {self.names[index]}" if count > 1 else self.names[index]


class Bar(Lines):
    """A progress bar for each input that is being worked on, with lines above."""

    def __init__(self, names: Sequence[str], describe: Describe) -> None:
        super().__init__(names, describe)
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=NAME_CHARS))
        said = TextColumn("{task.fields[said]}", markup=False, table_column=Column(no_wrap=True))
        self._bars = Bars(name, BarColumn(), said, console=Console(stderr=True), transient=True, redirect_stdout=False)
        self._over = set[int]()
        self._tasks = {0: self._bars.add_task(self._name(0), total=1.0, said="")}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bars.stop()

    def show(self, event: Event) -> None:
        """Print a line; the bar of what is over stays until the next one comes."""
        super().show(event)
        if isinstance(event, Published | ItemFailed):
            self._over.add(event.index)

    def _progress(self, event: Progress) -> None:
        if event.index not in self._tasks:
            for index in self._over & self._tasks.keys():
                self._bars.remove_task(self._tasks.pop(index))
            self._tasks[event.index] = self._bars.add_task(self._name(event.index), total=1.0, said="")
        self._bars.update(self._tasks[event.index], completed=event.fraction, said=describe(event))

    def say(self, line: str) -> None:
        """Print one line above the bar, as it is: no markup, no emoji codes, no colours."""
        from rich.text import Text

        self._bars.console.print(Text(line), soft_wrap=True)


def describe(event: Progress) -> str:
    """Percentage, speed and time left, as people read them."""
    parts = [f"{event.fraction:.0%}"]
    if event.speed:
        parts.append(f"{event.speed:.2g}x")
    if event.eta:
        parts.append(f"{_clock(event.eta)} left")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def display(quiet: bool, names: Sequence[str], describe: Describe) -> Display:
    """The display that fits: none with -q, a bar on a terminal that can draw one, else lines."""
    if quiet:
        return Quiet(names, describe)
    if os.environ.get("CI") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty():
        return Lines(names, describe)
    return Bar(names, describe)

"""What a person sees on stderr while a job runs: a bar on a terminal, a line now and then elsewhere, or nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from broker.events import Event, ItemFailed, Note, Progress, Published, Started

LINE_SECONDS = 5.0

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


class Quiet:
    """Shows only what failed."""

    def __init__(self, names: Sequence[Path], describe: Describe) -> None:
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
            self.say(f"{self.names[event.index]}: {event.error}")

    def say(self, line: str) -> None:
        """Print one line."""
        print(line, file=sys.stderr, flush=True)


class Lines(Quiet):
    """A line for what matters, and one on progress every few seconds."""

    _said = 0.0

    def show(self, event: Event) -> None:
        """Print a line, unless one on progress was printed a moment ago."""
        super().show(event)
        match event:
            case Started(target, reason):
                self._said = time.monotonic()
                self.say(f"running on {target}: {reason}")
            case Note(message, index):
                self.say(message if index is None else f"{self.names[index]}: {message}")
            case Progress():
                self._progress(event)
            case Published(index, paths, measured):
                found = self.describe(measured)
                self.say(f"{self.names[index]} -> {', '.join(map(str, paths))}" + (f" ({found})" if found else ""))

    def _progress(self, event: Progress) -> None:
        if time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            self.say(f"{self.names[event.index]}: {describe(event)}")


class Bar(Lines):
    """A progress bar, with lines above it."""

    def __init__(self, names: Sequence[Path], describe: Describe) -> None:
        super().__init__(names, describe)
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
        self._bars = Bars(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
        self._task = self._bars.add_task("", total=1.0, said="")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bars.stop()

    def _progress(self, event: Progress) -> None:
        name = self.names[event.index].name
        self._bars.update(self._task, completed=event.fraction, description=_escape(name), said=describe(event))

    def say(self, line: str) -> None:
        """Print one line above the bar."""
        self._bars.console.print(_escape(line), highlight=False, soft_wrap=True)


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


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape("".join(char if char.isprintable() else "?" for char in text))


def display(quiet: bool, names: Sequence[Path], describe: Describe) -> Display:
    """The display that fits: none with -q, lines in CI and where stderr is no terminal, else a bar."""
    if quiet:
        return Quiet(names, describe)
    if os.environ.get("CI") or not sys.stderr.isatty():
        return Lines(names, describe)
    return Bar(names, describe)

"""Forecasts: what a job will take on a target, phase by phase, and how well that is known.

A phase is known best from jobs of the very kind on that target; then from those of the same service and model, then
from those of the service; then, for the run, from what was measured on another target, scaled as the priors differ; and
from the shipped priors alone where nothing was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from broker import priors, speeds
from broker.history import COLD, History, Observation
from broker.priors import Machine
from broker.targets import Target
from broker.work import BYTES, Work
from executors.base import Probe

PHASES = ("upload", "start", "prepare", "run", "download")
NOTHING, PRIOR, SAMPLE = "nothing to do", "estimated", "a sample"
ELSEWHERE = "measured on {}, and scaled"
LEVELS = ("measured {}", "measured {} with other parameters", "measured {} with other models")
SAMPLED = "sample"
"""The kind of observations of a link that were no job's."""


@dataclass(frozen=True)
class Phase:
    """How long something takes, None where nobody can tell, and in words how that is known."""

    seconds: float | None
    known: str


@dataclass(frozen=True)
class Forecast:
    """What a job will take on a target. `send_bytes` would travel there; `link` is how its speed is known."""

    upload: Phase
    start: Phase
    prepare: Phase
    run: Phase
    download: Phase
    send_bytes: int
    link: str

    @property
    def total(self) -> float | None:
        """Seconds until the outputs are here; None where nobody can tell."""
        return None if self.run.seconds is None else sum(self.seconds().values())

    @property
    def measured(self) -> bool:
        """Whether the run is known from jobs that ran on this very target."""
        return self.run.known.startswith("measured") and not self.run.known.endswith("scaled")

    def seconds(self) -> dict[str, float]:
        """The seconds of each phase that is known."""
        found = {name: getattr(self, name).seconds for name in PHASES}
        return {name: round(value, 3) for name, value in found.items() if value is not None}

    def told(self) -> dict[str, Any]:
        """What a document says of it."""
        known = {name: getattr(self, name).known for name in PHASES}
        return {"phases": self.seconds(), "known": known, "link": self.link}


@dataclass(frozen=True)
class Place:
    """A target that a job might run on, what its probe told, and whether it shares our files.

    One that is `cold` has a machine taken first.
    """

    target: Target
    probe: Probe
    shared: bool
    cold: bool = False

    @property
    def machine(self) -> Machine:
        """What decides its speed."""
        return Machine.of(self.target, self.probe)


class Forecasts:
    """Forecasts of one piece of work, on several places. `here` is this machine, where inputs are prepared.

    `there` says which blobs are known to be on a target.
    """

    def __init__(
        self, work: Work, history: History, here: Place, there: Callable[[Target], Iterable[str]] = lambda target: ()
    ) -> None:
        self._work, self._here, self._there = work, here, there
        self._of = cache(lambda name: _Measured(work, history.of(self._targets[name], work.service)))
        self._links = cache(lambda name: history.of(self._targets[name]))
        self._targets = {here.target.name: here.target}

    def on(self, places: Sequence[Place]) -> list[Forecast]:
        """The forecast for each of the places."""
        self._targets |= {place.target.name: place.target for place in places}
        return [self._on(place, places) for place in places]

    def _on(self, place: Place, places: Sequence[Place]) -> Forecast:
        send, out = self._to_send(place), 0.0 if place.shared else self._out(places)
        run, upload = self._run(place, places), self._moved(place, "up", send)
        return Forecast(
            upload=upload,
            start=self._start(place),
            prepare=self._prepare(),
            run=run,
            download=self._last(self._moved(place, "down", out), run),
            send_bytes=round(send),
            link=NOTHING if place.shared else self._link(place, "up")[1],
        )

    def _start(self, place: Place) -> Phase:
        measured, ways = self._of(place.target.name), (COLD, "start") if place.cold else ("start", COLD)
        found = measured.best(ways[0]) or measured.best(ways[1])
        if found is None:
            return Phase(priors.start(self._work, place.machine), PRIOR)
        points, known = found
        return Phase(speeds.median([took for _, took in points]), known)

    def _prepare(self) -> Phase:
        amount = self._work.unprepared
        if not amount:
            return Phase(0.0, NOTHING)
        found = self._of(self._here.target.name).best("prepare")
        if found is not None:
            return Phase(speeds.seconds(found[0], amount), found[1])
        return Phase((priors.per_unit(self._work, "prepare") or 0.0) * amount, PRIOR)

    def _run(self, place: Place, places: Sequence[Place]) -> Phase:
        found = self._of(place.target.name).best("run")
        if found is not None:
            return Phase(speeds.seconds(found[0], self._work.amount), found[1])
        mine = priors.run(self._work, place.machine)
        return self._scaled(mine, places) or Phase(mine, PRIOR if mine is not None else "never measured")

    def _scaled(self, mine: float | None, places: Sequence[Place]) -> Phase | None:
        """The run as it was measured on another target, this machine first, times what the priors say of both."""
        for other in (self._here, *places) if mine else ():
            found, theirs = self._of(other.target.name).best("run"), priors.run(self._work, other.machine)
            if found is not None and mine and theirs:
                took = speeds.seconds(found[0], self._work.amount)
                return Phase(took * mine / theirs, ELSEWHERE.format(other.target.name))
        return None

    def _out(self, places: Sequence[Place]) -> float:
        """Bytes that come back. They are the same wherever they were made."""
        return self._bytes("out", (place.target.name for place in (*places, self._here)), self._work.amount)

    def _to_send(self, place: Place) -> float:
        if place.shared:
            return 0
        there = set(self._there(place.target))
        payloads = self._bytes("payload", [self._here.target.name], self._work.unprepared)
        return payloads + sum(size for sha256, size in self._work.blobs.items() if sha256 not in there)

    def _bytes(self, what: str, targets: Iterable[str], amount: float) -> float:
        """The bytes that so much of the work makes."""
        for name in targets if amount else ():
            if found := self._of(name).best(what):
                return speeds.seconds(found[0], amount)
        return amount * (priors.per_unit(self._work, what) or (1.0 if self._work.kind.unit == BYTES else 0.0))

    def _moved(self, place: Place, way: str, size: float) -> Phase:
        if not size:
            return Phase(0.0, NOTHING)
        a_byte, known = self._link(place, way)
        return Phase(a_byte * size, known)

    def _link(self, place: Place, way: str) -> tuple[float, str]:
        """Seconds a byte, and how that is known."""
        found = [one for one in self._links(place.target.name) if one.what == way]
        jobs = [one for one in found if one.kind != SAMPLED]
        if not found:
            return 1 / priors.rate(way, place.machine), PRIOR
        rate = speeds.median([one.seconds / one.amount for one in jobs or found])
        return rate, LEVELS[0].format(_times(len(jobs))) if jobs else SAMPLE

    def _last(self, all_of_it: Phase, run: Phase) -> Phase:
        """What of the download is left when the run is over: the last item's, and what could not keep up with it."""
        count, whole = max(self._work.items, 1), all_of_it.seconds or 0.0
        others = (run.seconds or 0.0) * (count - 1) / count
        return Phase(max(whole / count, whole - others), all_of_it.known)


class _Measured:
    """What was measured of a service on a target, by how near it comes to the work at hand."""

    def __init__(self, work: Work, found: Sequence[Observation]) -> None:
        self._found = found
        kind = work.kind
        self._prefixes = (str(kind), f"{kind.unit}/{kind.models}/", f"{kind.unit}/")

    def best(self, what: str) -> tuple[list[speeds.Point], str] | None:
        """What comes nearest: amounts with their seconds, latest first, and in words how near it comes."""
        alike = [one for one in self._found if one.what == what]
        for prefix, words in zip(self._prefixes, LEVELS, strict=True):
            if points := [(one.amount, one.seconds) for one in alike if one.kind.startswith(prefix)]:
                return points, words.format(_times(len(points)))
        return None


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def told(seconds: float) -> str:
    """A time for people."""
    if seconds < 1:
        return "less than a second"
    return f"about {' '.join(_parts(seconds))}"


def _parts(seconds: float) -> Iterator[str]:
    if seconds < 100:
        yield f"{seconds:.0f} s"
    elif seconds < 5400:
        yield f"{seconds / 60:.0f} min"
    else:
        hours, minutes = divmod(round(seconds / 60), 60)
        yield f"{hours} h"
        if minutes and hours < 10:
            yield f"{minutes} min"


def read(found: Mapping[str, float]) -> float:
    """The seconds an attempt was expected to take: without the preparation, which is an attempt of its own."""
    return sum(value for name, value in found.items() if name != "prepare")

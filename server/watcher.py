"""Who watches jobs, and tells of what is new: one for all who listen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from broker.settings import Settings


@dataclass(frozen=True)
class News:
    """A job as it is now, as JSON (`schemas.Job`), or that it is gone."""

    job: str
    revision: str
    data: str
    over: bool
    gone: bool = False


class Watcher:
    """Tells of jobs as they change. Open it as a context."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @contextmanager
    def open(self) -> Iterator[None]:
        """Watch while this lasts; all that listen hear the end of it."""
        yield

    async def job(self, job: str, since: str | None) -> AsyncIterator[News]:
        """A job now, unless `since` is its revision, and at each change, until it is over or gone."""
        raise NotImplementedError
        yield

    async def everything(self, since: str | None) -> AsyncIterator[News]:
        """The open jobs and the latest, then every one that changes."""
        raise NotImplementedError
        yield

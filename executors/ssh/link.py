"""File servers on one target, lent to one thread at a time: one on a near link, more where that pays.

One TCP connection loses most of a long link that drops packets (a fifth of 20 Mbit/s at 40 ms and 0.5 % is left),
six together use four fifths. On a near one they only cost: threads that wait for each other are slower than one alone.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import paramiko

from executors.base import PART_BYTES, ExecutorError, Lost, TransferFailed
from executors.ssh import command, connection, files
from executors.ssh.files import FileServer

FAR_SECONDS = 0.015
SLOW_BYTES_PER_SECOND = 12e6
MEASURE_SECONDS = 0.5

MOST_FAR = 2
"""On a far link that is fast, over its one connection: while one part is answered, another is on its way."""

MOST_SLOW = 6
"""On a far link that is slow, each over a connection of its own."""


@dataclass(frozen=True, eq=False)
class Channel:
    """A file server and the connection that carries it."""

    server: FileServer
    carrier: Any


class Link:
    """The file servers behind an open connection, and behind more that `another` opens when it is slow and far.

    `server` is the one already there; more are started in its folder, with its interpreter. One that says nothing for
    `silence` seconds is lost.
    """

    def __init__(self, name: str, first: Any, server: FileServer, another: Callable[[], Any], silence: float) -> None:
        self._silence = silence
        self.round_trip = server.round_trip
        self._name = name
        self._first = first
        self._another = another
        self._script = f'cd -- {shlex.quote(server.folder)} && {shlex.quote(server.python)} "$@"'
        self._idle = [Channel(server, first)]
        self._open = 1
        self._wanted = self._most = 1
        self._changed = threading.Condition()
        self._line: list[object] = []
        self._extra: list[Any] = []
        self._closed = False

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return 1 + len(self._extra)

    @contextmanager
    def server(self) -> Iterator[FileServer]:
        """Lend a file server. One that anything but a refusal happened to is not used again.

        Raises Lost when the connection broke, TransferFailed when only this file server's did.
        """
        channel = self._take()
        try:
            yield channel.server
        except files.Refusal:
            self._give_back(channel)
            raise
        except (paramiko.SSHException, OSError, EOFError) as error:
            self._drop(channel)
            raise self._meaning(error) from error
        except BaseException:
            self._drop(channel)
            raise
        else:
            self._give_back(channel)

    def observe(self, moved: int, seconds: float) -> None:
        """Learn from a transfer that took so long so far whether more at once would help."""
        if self.round_trip < FAR_SECONDS or (seconds < MEASURE_SECONDS and moved < PART_BYTES):
            return
        with self._changed:
            busy = self._open - len(self._idle)
            wanted = MOST_SLOW if moved / seconds * busy < SLOW_BYTES_PER_SECOND else MOST_FAR
            if wanted > self._wanted:  # once: a server that allows fewer is not asked again
                self._wanted = self._most = wanted
                self._changed.notify_all()

    def close(self) -> None:
        """Close all connections."""
        with self._changed:
            self._closed = True
            carriers = [*self._extra, self._first]
        for carrier in carriers:
            connection.close(carrier)

    def _take(self) -> Channel:
        with self._changed:
            self._wait_in_line()
            if self._idle:
                return self._idle.pop()
            self._open += 1
            shared = self._open == 1 or self._wanted < MOST_SLOW
        try:
            return self._start_on(self._first) if shared else self._start_on_another()
        except (ExecutorError, paramiko.SSHException, OSError, EOFError) as error:
            self._shrink()
            if self._open == 0:
                raise self._meaning(error) from error
        except BaseException:
            self._shrink()
            raise
        return self._take()

    def _wait_in_line(self) -> None:
        """Wait for a turn: whoever gives back could else take again at once, for ever."""
        turn = object()
        self._line.append(turn)
        try:
            self._changed.wait_for(lambda: self._line[0] is turn and (self._idle or self._open < self._most))
        finally:
            self._line.remove(turn)
            self._changed.notify_all()

    def _shrink(self) -> None:
        """Give up a file server that could not be started: the target allows no more than we have."""
        with self._changed:
            self._open -= 1
            self._most = max(self._open, 1)
            self._changed.notify_all()

    def _start_on_another(self) -> Channel:
        carrier = self._another()
        try:
            channel = self._start_on(carrier)
            with self._changed:
                if self._closed:
                    raise Lost(f"{self._name}: not connected")
                self._extra.append(carrier)
        except BaseException:
            connection.close(carrier)
            raise
        return channel

    def _start_on(self, carrier: Any) -> Channel:
        return Channel(files.start(self._name, carrier.transport, self._script, self._silence), carrier)

    def _give_back(self, channel: Channel) -> None:
        with self._changed:
            self._idle.append(channel)
            self._changed.notify_all()

    def _drop(self, channel: Channel) -> None:
        with suppress(Exception):  # it may be broken in any way
            channel.server.stream.close()
        if channel.carrier is not self._first:
            connection.close(channel.carrier)
        with self._changed:
            if channel.carrier in self._extra:
                self._extra.remove(channel.carrier)
            self._open -= 1
            self._changed.notify_all()

    def _meaning(self, error: Exception) -> ExecutorError:
        return meaning(self._name, self._first.transport, error)


def meaning(name: str, transport: Any, error: Exception) -> ExecutorError:
    """What a failure of a file server on a connection is to the broker."""
    reason = str(error) or "it hung up"
    if isinstance(error, ExecutorError):
        return error
    if isinstance(error, TimeoutError):
        return Lost(f"{name}: it does not answer any more")
    if command.broken(transport):
        return Lost(f"{name}: the connection broke: {reason}")
    return TransferFailed(f"{name}: {reason}")

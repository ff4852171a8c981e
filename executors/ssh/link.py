"""SFTP channels to one target, for one thread at a time each: few on a fast link, more where that pays.

One TCP connection loses most of a long link that drops packets (a fifth of 20 Mbit/s at 40 ms and 0.5 % is left),
eight together use it. On a fast one they only cost: two channels of one connection fill it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import paramiko

from executors.base import ExecutorError, Lost, TransferFailed
from executors.ssh import connection

CHANNELS = 2
"""Of the first connection: while one part is opened or renamed, another is on its way."""

MOST_CHANNELS = 8
SLOW_BYTES_PER_SECOND = 12e6
FAR_SECONDS = 0.015
MEASURE_SECONDS = 0.5

REQUEST_BYTES = 32 * 1024
"""What every SFTP server takes in one request."""

OPENSSH_REQUEST_BYTES = 255 * 1024
"""What OpenSSH's takes since 9.0: an eighth of the replies to read, and twice the speed."""


@dataclass(frozen=True, eq=False)
class Channel:
    """An SFTP session and the connection that carries it; one of its own, or the link's first."""

    sftp: Any
    carrier: Any
    request_bytes: int


class Link:
    """The channels of an open connection, and of more that `another` opens when the link is slow and far."""

    def __init__(self, name: str, first: Any, another: Callable[[], Any]) -> None:
        self._name = name
        self._first = first
        self._another = another
        self._idle: list[Channel] = []
        self._open = 0
        self._most = CHANNELS
        self._widened = False
        self._changed = threading.Condition()
        self._extra: list[Any] = []
        self.round_trip = self._measure_round_trip()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return 1 + len(self._extra)

    def _measure_round_trip(self) -> float:
        with self.channel() as channel:
            channel.sftp.stat(".")  # the first answer waits for the server's process to start
            started = time.monotonic()
            channel.sftp.stat(".")
            return time.monotonic() - started

    @contextmanager
    def channel(self) -> Iterator[Channel]:
        """Lend a channel. One that anything but a missing file happened to is not used again.

        Raises Lost when the connection broke, TransferFailed when only this channel did or the server refused.
        """
        channel = self._take()
        try:
            yield channel
        except FileNotFoundError:
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

    def observe(self, sent: int, seconds: float) -> None:
        """Learn from a transfer that took so long so far whether more connections would help."""
        if seconds < MEASURE_SECONDS or self._widened or self.round_trip < FAR_SECONDS:
            return
        with self._changed:
            busy = self._open - len(self._idle)
            if sent / seconds * busy < SLOW_BYTES_PER_SECOND:
                self._most, self._widened = MOST_CHANNELS, True  # once: a server that allows fewer is not asked again
                self._changed.notify_all()

    def close(self) -> None:
        """Close all connections."""
        for carrier in (*self._extra, self._first):
            connection.close(carrier)

    def _take(self) -> Channel:
        with self._changed:
            self._changed.wait_for(lambda: self._idle or self._open < self._most)
            if self._idle:
                return self._idle.pop()
            self._open += 1
            first = self._open <= CHANNELS
        try:
            return self._new_channel(self._first if first else self._another_connection())
        except (ExecutorError, paramiko.SSHException, OSError, EOFError) as error:
            self._shrink()
            if self._open == 0:
                raise self._meaning(error) from error
        except BaseException:
            self._shrink()
            raise
        return self._take()

    def _shrink(self) -> None:
        """Give up a channel that could not be opened: the server allows no more than we have."""
        with self._changed:
            self._open -= 1
            self._most = max(self._open, 1)
            self._changed.notify_all()

    def _another_connection(self) -> Any:
        carrier = self._another()
        with self._changed:
            self._extra.append(carrier)
        return carrier

    def _new_channel(self, carrier: Any) -> Channel:
        sftp = carrier.client.open_sftp()
        sftp.get_channel().settimeout(connection.SILENCE_SECONDS)
        return Channel(sftp, carrier, request_bytes(carrier.transport.remote_version))

    def _give_back(self, channel: Channel) -> None:
        with self._changed:
            self._idle.append(channel)
            self._changed.notify()

    def _drop(self, channel: Channel) -> None:
        with suppress(Exception):  # it may be broken in any way
            channel.sftp.close()
        if channel.carrier is not self._first:
            connection.close(channel.carrier)
        with self._changed:
            if channel.carrier in self._extra:
                self._extra.remove(channel.carrier)
            self._open -= 1
            self._changed.notify()

    def _meaning(self, error: Exception) -> ExecutorError:
        reason = str(error) or "it hung up"
        if isinstance(error, TimeoutError):
            return Lost(f"{self._name}: no answer for {connection.SILENCE_SECONDS} s")
        if broken(self._first.transport):
            return Lost(f"{self._name}: the connection broke: {reason}")
        return TransferFailed(f"{self._name}: {reason}")


def broken(transport: Any) -> bool:
    """Tell whether a connection is gone. Its channels end a moment before it does: wait for that moment."""
    transport.join(0.5)
    return not transport.is_alive()


def request_bytes(version: str) -> int:
    """How much one read or write request may carry, by the server's greeting."""
    _, _, number = version.partition("OpenSSH_")
    major = number.partition(".")[0]
    return OPENSSH_REQUEST_BYTES if major.isdecimal() and int(major) >= 9 else REQUEST_BYTES

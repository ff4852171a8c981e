"""Wires to a real server that count, jam and break on request, and servers that only waste one's time."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread

Behaviour = Callable[[Event], Iterable[bytes]]

GREETING = b"SSH-2.0-OpenSSH_9.2\r\n"
TRICKLE_SECONDS = 0.1


class Wire:
    """A port of this machine that leads to another. `up` and `down` are the bytes carried to it and from it."""

    def __init__(self, far: int) -> None:
        self.up = self.down = 0
        self.jammed = Event()
        self._far = far
        self._most: int | None = None
        self._flows, self._turn = Event(), Lock()
        self._flows.set()
        self._ends: list[socket.socket] = []
        self._threads: list[Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._serve)

    def jam(self, after: int) -> None:
        """Carry so many bytes more, both ways together, and then nothing."""
        with self._turn:
            self.jammed.clear()
            self._most = self.up + self.down + after

    def cut(self) -> None:
        """Break all connections. New ones can be made, and nothing jams any more."""
        with self._turn:
            self._most = None
            ends, self._ends = self._ends, []
        for end in ends:
            _shut(end)
        self._flows.set()

    def go_on(self) -> None:
        """Carry again, on all connections."""
        with self._turn:
            self._most = None
        self._flows.set()

    def close(self) -> None:
        """Take the wire away: what connects is refused."""
        _shut(self._listener)
        self._threads[0].join()  # else a connection could still come after the cut
        self.cut()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _serve(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return  # taken away
            try:
                far = socket.create_connection(("127.0.0.1", self._far))
            except OSError:
                near.close()
                continue
            self._ends += [near, far]
            self._start(self._join, near, far)

    def _join(self, near: socket.socket, far: socket.socket) -> None:
        back = Thread(target=self._carry, args=(far, near, "down"), daemon=True)
        back.start()
        self._carry(near, far, "up")
        back.join()
        near.close()
        far.close()

    def _carry(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        with suppress(OSError):  # an end that is gone has said all it had to
            while data := source.recv(64 * 1024):
                self._count(way, len(data))
                self._flows.wait()
                sink.sendall(data)
        _shut(source)
        _shut(sink)

    def _count(self, way: str, size: int) -> None:
        with self._turn:
            setattr(self, way, getattr(self, way) + size)
            if self._most is not None and self.up + self.down > self._most:
                self._most = None
                self._flows.clear()
                self.jammed.set()


def _shut(end: socket.socket) -> None:
    with suppress(OSError):  # the other side was faster
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def wire(port: int) -> Iterator[Wire]:
    """Lay a wire to a port of this machine."""
    laid = Wire(port)
    try:
        yield laid
    finally:
        laid.close()


@contextmanager
def says(behaviour: Behaviour) -> Iterator[int]:
    """A port where everybody is told what the behaviour yields, and is then kept waiting."""
    over, threads = Event(), list[Thread]()
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(guest: socket.socket) -> None:
        with guest, suppress(OSError):  # a guest may leave
            for words in behaviour(over):
                guest.sendall(words)
            over.wait()

    def serve() -> None:
        with suppress(OSError):  # until it is shut
            while True:
                threads.append(Thread(target=talk, args=(listener.accept()[0],), daemon=True))
                threads[-1].start()

    server = Thread(target=serve, daemon=True)
    server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        _shut(listener)
        for thread in (server, *threads):
            thread.join()
        listener.close()


def nothing(_: Event) -> Iterable[bytes]:
    """Accept, and say nothing."""
    return ()


def trickle(over: Event) -> Iterator[bytes]:
    """Say a letter now and then, for ever."""
    while not over.wait(TRICKLE_SECONDS):
        yield b"x"


def greet_and_stop(_: Event) -> Iterable[bytes]:
    """Greet as sshd does, and exchange no keys."""
    return (GREETING,)


def greet_and_trickle(over: Event) -> Iterator[bytes]:
    """Greet as sshd does, and exchange keys so slowly that it takes for ever."""
    yield GREETING
    yield from (b"\0" for _ in trickle(over))

"""A real jupyter_server, started as a child on a port of this machine with files, a HOME and a token of its own."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil

from tests.executors.sshd import free_port
from tests.offload.background import until

FIXED = (
    "--ServerApp.port_retries=0",
    "--ServerApp.allow_root=True",
    "--ServerApp.jpserver_extensions={}",
    "--ServerApp.use_redirect_file=False",
    "--no-browser",
)


@dataclass
class Server:
    """One server. `files` is its root, `more` are words of its command line, `environment` what its kernels see.

    `wrapper` is what its command line begins with, `address` where it listens.
    """

    folder: Path
    more: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    wrapper: Sequence[str] = ()
    address: str = "127.0.0.1"

    def __post_init__(self) -> None:
        self.home, self.files = self.folder / "home", self.folder / "files"
        self.home.mkdir(parents=True)
        self.files.mkdir()
        self.port = free_port()
        self.token = secrets.token_hex(16)
        self.token_file = self.folder / "token"
        self.token_file.touch(0o600)
        self.token_file.write_text(f"{self.token}\n")

    @property
    def root(self) -> Path:
        """Where the target's root is on disk."""
        return self.files / "offload-root"

    @property
    def place(self) -> str:
        """Its url, for HTTP."""
        return f"http://{self.address}:{self.port}/"

    def options(self, **changed: object) -> dict[str, str]:
        """A target's options for this server."""
        standard = {"url": f"jupyter+{self.place}", "token_file": self.token_file}
        return {key: str(value) for key, value in {**standard, **changed}.items()}

    def start(self) -> None:
        """Start, and wait until it answers."""
        own = {name: str(self.home / name.lower()) for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OFFLOAD_", "JUPYTER_"))}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        fixed = {"HOME": str(self.home), "PATH": path, "JUPYTER_TOKEN": self.token, **own}
        words = [
            *FIXED,
            f"--ServerApp.ip={self.address}",
            f"--ServerApp.port={self.port}",
            f"--ServerApp.root_dir={self.files}",
            *self.more,
        ]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, sys.executable, "-m", "jupyter_server", *words],
                env={**kept, **fixed, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
            )
        while not self._answers():
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)

    def _answers(self) -> bool:
        with suppress(URLError, OSError):
            self.ask("api/status")
            return True
        return False

    def ask(self, path: str) -> Any:
        """Ask it, as a browser would; the answer's bytes."""
        request = Request(self.place + path, headers={"Authorization": f"token {self.token}"})
        with urlopen(request, timeout=30) as answer:
            return answer.read()

    def said(self) -> str:
        """What it has written to its log."""
        return (self.folder / "server.log").read_text(errors="replace")

    def kernels(self) -> list[psutil.Process]:
        """The processes of its kernels."""
        return living_children(psutil.Process(self.process.pid)) if self.process.poll() is None else []

    def rest(self) -> None:
        """Wait until it has no kernel any more: who ends one does not wait for its process."""
        until(lambda: not self.kernels(), "the end of its kernels")

    def kill(self) -> None:
        """Kill it and its kernels at once; what runs on the machine goes on."""
        for process in self.kernels():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it, politely: it ends its kernels."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


def living_children(process: psutil.Process) -> list[psutil.Process]:
    """A process's children that have not ended."""
    found = []
    with suppress(psutil.NoSuchProcess):  # it has ended itself
        found = process.children()
    return [child for child in found if _lives(child)]


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Serve."""
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def jupyter(folder: Path, *more: str, **environment: str) -> Iterator[Server]:
    """Serve from a folder of its own."""
    with running(Server(folder / "jupyter", more, environment)) as server:
        yield server

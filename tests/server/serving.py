"""A real server: `offload serve`, as a process at a port of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from broker import settings
from server import access
from server.client import Client
from tests.ports import reserved
from tests.server.nursery import Forked

REPO = Path(__file__).parents[2]


class Serving:
    """A server on this test's folders, and on the same port each time it is started. Use it as a context.

    `env` is added to the environment, `log` is where its stderr goes. While it is away nobody else is given its port.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.folder, self.env = folder, {**os.environ, **(env or {})}
        self._place = reserved()
        self.port: int = self._place.getsockname()[1]
        self.log = folder / "serve.log"
        self.process: subprocess.Popen[str] | Forked | None = None
        self.link = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        self._place.close()

    def start(self) -> None:
        """Start it, again after `kill` or `stop`, and wait until it serves."""
        words = ["serve", "--port", str(self.port)]
        # What Python reads at its start would come too late for a fork.
        self.process = self._typed(words) if "PYTHONPATH" in self.env else Forked(words, self.env, self.log)
        assert self.process.stdout is not None
        self.link = self.process.stdout.readline().strip()
        assert self.link.startswith(f"{self.url}/"), self.log.read_text()

    def _typed(self, words: Sequence[str]) -> subprocess.Popen[str]:
        typed = [sys.executable, "-m", "offload", *words]
        with self.log.open("a") as log:
            return subprocess.Popen(
                typed, env=self.env, cwd=REPO, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """Its token."""
        return access.token(access.folder(settings.load(self.env)))

    @property
    def code(self) -> str:
        """The one-time code of the link it printed when it was started."""
        return self.link.partition("#code=")[2]

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid

    def http(self, **options: object) -> httpx.Client:
        """A bare HTTP client that is let in. Close it, or use it as a context."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=60, verify=False, **options)  # type: ignore[arg-type]

    def client(self) -> Client:
        """The project's own client. Close it, or use it as a context."""
        return Client(self.url, self.token)

    def kill(self) -> None:
        """End it as a crash would, whatever it is doing: `kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; returns the exit code."""
        return self._end(number)

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code

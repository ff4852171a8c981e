"""A runtime: a real jupyter_server on a port of its own, in a pid namespace of its own, with its own HOME and disk."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.colab.double.nvidia import stand_in
from tests.ports import reserved
from tests.ssh.wire import Wire

CONFIG = Path(__file__).with_name("jupyter_config.py")
HEADER = "X-Colab-Runtime-Proxy-Token"

NAMESPACE = ("unshare", "--pid", "--mount-proc", "--fork", "--kill-child")
OF_A_USER = ("unshare", "--user", "--map-root-user", *NAMESPACE[1:])

INIT = ("sh", "-c", '"$@" & wait', "init")
"""The first process of a namespace: it buries orphans, as that of a real machine does."""

SERVER = "import sys; sys.modules['rfc3987_syntax'] = None; from jupyter_server.serverapp import main; main()"
"""Starts jupyter_server without its grammar of IRIs: nothing here needs it, and to build it takes most of the start."""

PATIENCE = 120.0
"""Seconds after which an answer does not come any more, however busy this machine is."""

LEFT_OUT = ("OFFLOAD_", "JUPYTER_", "DOUBLE_", "PYTEST_", "XDG_")
"""What a machine of Google's would not know of ours."""


@cache
def namespace() -> tuple[str, ...]:
    """The words that start a command in a pid namespace; empty where none can be made."""
    for words in (NAMESPACE, OF_A_USER):
        if shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return words
    return ()


class Runtime:
    """A machine whose files are in `folder`.

    `disk` is its disk and the root of its server, `content` the folder there that Colab starts in, `home` its HOME.
    `port` is the server's; `wire`, if it is `wired`, what leads there from elsewhere, and can be jammed and cut.
    """

    def __init__(self, folder: Path, wired: bool = False) -> None:
        self.disk = folder / "disk"
        self.content, self.home = self.disk / "content", self.disk / "root"
        self.gpu, self.gone = "", False
        self._place = reserved()
        self.port: int = self._place.getsockname()[1]
        self.wire = Wire(self.port) if wired else None
        self._folder, self._programs = folder, self.disk / "opt/bin"
        for place in (self.content, self.home, self._programs, self.disk / "tmp"):
            place.mkdir(parents=True)
        self._lock = threading.RLock()
        self._passes: dict[str, float] = {}
        self._write_passes()
        self._process = self._start()

    @property
    def url(self) -> str:
        """What the control plane tells."""
        return f"http://127.0.0.1:{self.wire.port if self.wire else self.port}"

    def _start(self) -> subprocess.Popen[bytes]:
        server = [sys.executable, "-c", SERVER, f"--config={CONFIG}", f"--ServerApp.root_dir={self.disk}"]
        with (self._folder / "server.log").open("wb") as log:
            return subprocess.Popen(
                [*namespace(), *INIT, *server],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.content,
            )

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
        path = f"{self._programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"HOME": self.home, "TMPDIR": self.disk / "tmp"}
        config = {"DOUBLE_PORT": self.port, "DOUBLE_PASSES": self._folder / "passes.json"}
        return {**kept, "PATH": path, **{name: str(value) for name, value in {**own, **config}.items()}}

    def wait(self) -> None:
        """Wait until the server lets us in. Raises AssertionError with its log when it does not."""
        shown, until = {HEADER: self.let_in(PATIENCE)}, time.monotonic() + PATIENCE
        with plain(base_url=f"http://127.0.0.1:{self.port}", headers=shown) as client:
            while not _answers(client):
                assert self._process.poll() is None and time.monotonic() < until, self.said()
                time.sleep(0.05)
        (self._server,) = self._init().children()

    def put_in(self, gpu: str) -> None:
        """Put a GPU in: as much of it as `nvidia-smi` tells."""
        self.gpu = gpu
        if gpu:
            stand_in(self._programs / "nvidia-smi", gpu)

    # Who is let in

    def let_in(self, seconds: float) -> str:
        """Make a proxy token that is good for so long."""
        token = f"proxy-{secrets.token_hex(16)}"
        with self._lock:
            self._passes[token] = time.time() + seconds
            self._write_passes()
        return token

    def expire_tokens(self) -> None:
        """Make all proxy tokens that were given invalid at once. Websockets that are open stay so."""
        with self._lock:
            self._passes.clear()
            self._write_passes()

    def _write_passes(self) -> None:
        if not self.gone:
            draft = self._folder / "passes.draft"
            draft.write_text(json.dumps(self._passes))
            draft.replace(self._folder / "passes.json")

    # What goes wrong

    def cut(self) -> None:
        """Let nothing be answered any more, as if the link were silent. What runs on the machine goes on."""
        self._server.send_signal(signal.SIGSTOP)

    def mend(self) -> None:
        """Answer again, also what came in the meantime."""
        self._server.send_signal(signal.SIGCONT)

    def drop(self) -> None:
        """Break all connections, websockets too. New ones can be made at once."""
        self._server.send_signal(signal.SIGUSR2)

    def vanish(self) -> None:
        """End the machine: once this returns, there is no process, no port and no disk of it."""
        with self._lock:
            if self.gone:
                return
            self.gone = True
            with suppress(psutil.NoSuchProcess):  # it has ended by itself
                self._init().kill()  # all of the namespace goes with it
            self._process.wait()
            self._place.close()
            if self.wire:
                self.wire.close()
            shutil.rmtree(self._folder)

    # What there is

    def processes(self) -> list[psutil.Process]:
        """All processes of the machine, but its first."""
        return [] if self.gone else self._init().children(recursive=True)

    def said(self) -> str:
        """What its server has written to its log."""
        return (self._folder / "server.log").read_text(errors="replace")

    def _init(self) -> psutil.Process:
        """The first process of the namespace; who makes the namespace, as long as there is none."""
        maker = psutil.Process(self._process.pid)
        return next(iter(maker.children()), maker)


def plain(**more: Any) -> httpx.Client:
    """A client for this machine only, which reads no certificates, as that takes long; it waits for very long."""
    return httpx.Client(verify=False, trust_env=False, timeout=PATIENCE, **more)


def _answers(client: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return client.get("/api/status").is_success
    return False

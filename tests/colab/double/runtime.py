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
from pathlib import Path

import httpx
import psutil

from tests.colab.double.nvidia import stand_in
from tests.executors.sshd import free_port

CONFIG = Path(__file__).with_name("jupyter_config.py")
NAMESPACE = ("unshare", "--pid", "--mount-proc", "--fork", "--kill-child")
ROOTLESS = ("unshare", "--user", "--map-root-user", *NAMESPACE[1:])
INIT = ("sh", "-c", '"$@" & wait', "init")
"""The namespace's first process: it buries its orphans, and ends with the server."""

LEFT_OUT = ("OFFLOAD_", "JUPYTER_", "DOUBLE_", "PYTEST_")
"""What no machine of Google's would know of ours."""


def namespace() -> tuple[str, ...]:
    """The words that start a command in a pid namespace; empty where none can be made."""
    for words in (NAMESPACE, ROOTLESS):
        if shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return words
    return ()


class Runtime:
    """A machine in `folder`. `disk` is its disk, and the root of its server; `content` is where Colab starts.

    `url` is what the control plane tells: another may be set, of a wire to `port`.
    """

    def __init__(self, folder: Path) -> None:
        self.disk = folder / "disk"
        self.content, self.home, self.programs = (self.disk / name for name in ("content", "root", "opt/bin"))
        for place in (self.content, self.home, self.programs, self.disk / "tmp"):
            place.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.gpu = ""
        self.gone = False
        self._folder = folder
        self._passes: dict[str, float] = {}
        self._lock = threading.RLock()
        self._write_passes()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                [*namespace(), *INIT, sys.executable, "-m", "jupyter_server", f"--config={CONFIG}", *self._words()],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.content,
            )

    def _words(self) -> list[str]:
        return [f"--ServerApp.root_dir={self.disk}"]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
        path = f"{self.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"HOME": self.home, "TMPDIR": self.disk / "tmp", "JUPYTER_RUNTIME_DIR": self.home / "runtime"}
        ours = {"DOUBLE_PORT": self.port, "DOUBLE_PASSES": self._folder / "passes.json"}
        return {**kept, "PATH": path, **{name: str(value) for name, value in {**own, **ours}.items()}}

    def wait(self) -> None:
        """Wait until the server answers. Raises AssertionError with its log when it ended."""
        mine = self.let_in(3600)
        with httpx.Client(trust_env=False) as client:
            while not self._answers(client, mine):
                assert self._process.poll() is None, self.said()
                time.sleep(0.05)

    def _answers(self, client: httpx.Client, mine: str) -> bool:
        with suppress(httpx.TransportError):
            return client.get(f"http://127.0.0.1:{self.port}/api/status", headers=_shown(mine)).is_success
        return False

    def put_in(self, gpu: str) -> None:
        """Put a GPU in: what there is of it is an `nvidia-smi`."""
        self.gpu = gpu
        if gpu:
            stand_in(self.programs / "nvidia-smi", gpu)

    # Who is let in

    def let_in(self, seconds: float) -> str:
        """Make a proxy token that is good for so long."""
        with self._lock:
            token = f"proxy-{secrets.token_hex(16)}"
            self._passes[token] = time.time() + seconds
            self._write_passes()
            return token

    def expire_tokens(self) -> None:
        """Make all proxy tokens that were given invalid at once. Open websockets stay."""
        with self._lock:
            self._passes.clear()
            self._write_passes()

    def _write_passes(self) -> None:
        draft = self._folder / "passes.draft"
        draft.write_text(json.dumps(self._passes))
        draft.replace(self._folder / "passes.json")

    # What goes wrong

    def cut(self) -> None:
        """Let nothing be answered any more, as if the link were cut. What runs on the machine goes on."""
        self._server().send_signal(signal.SIGSTOP)

    def mend(self) -> None:
        """Answer again, and what came in the meantime, too."""
        self._server().send_signal(signal.SIGCONT)

    def drop(self) -> None:
        """Break all open connections, websockets too. New ones can be made."""
        self._server().send_signal(signal.SIGUSR2)

    def vanish(self) -> None:
        """End the machine at once: all its processes, its port and its disk. Once it returns, nothing is left."""
        with self._lock:
            if self.gone:
                return
            self.gone = True
        for process in [*self._init(), psutil.Process(self._process.pid)][:1]:
            process.kill()  # the namespace goes with its first process
        self._process.wait()
        shutil.rmtree(self._folder)

    # What there is

    def processes(self) -> list[psutil.Process]:
        """All processes of the machine."""
        found = [] if self.gone else psutil.Process(self._process.pid).children(recursive=True)
        return [process for process in found if process.is_running()]

    def said(self) -> str:
        """What its server has written to its log."""
        return (self._folder / "server.log").read_text(errors="replace")

    def _init(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid).children()
        return []

    def _server(self) -> psutil.Process:
        (init,) = self._init()
        return init.children()[0]


def _shown(token: str) -> dict[str, str]:
    return {"X-Colab-Runtime-Proxy-Token": token}

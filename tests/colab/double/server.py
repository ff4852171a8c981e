"""Serves the double from a thread, with machines that are started before they are asked for."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from tests.colab.double.control import Control
from tests.colab.double.faults import Faults, Instead, page
from tests.colab.double.oauth import COLAB_SCOPE, OAuth
from tests.colab.double.runtime import Runtime, namespace
from tests.executors.sshd import free_port

needs_namespace = pytest.mark.skipif(not namespace(), reason="no pid namespace can be made here")


class Double:
    """Google, as far as this project knows it. `folder` holds its machines' disks, and the client's files."""

    def __init__(self, folder: Path, warm: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._numbers, self._lock = count(), threading.Lock()
        self._warm = [self._machine() for _ in range(warm)]
        self.faults = Faults()
        self.oauth = OAuth(self.faults)
        self.control = Control(self.oauth, self.faults, self._take)
        self.app = FastAPI(openapi_url=None, exception_handlers={Instead: page})
        self.app.include_router(self.oauth.router)
        self.app.include_router(self.control.router)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._write_client()

    def _machine(self) -> Runtime:
        return Runtime(self.folder / f"machine-{next(self._numbers)}")

    def _take(self) -> Runtime:
        with self._lock:
            machine = self._warm.pop() if self._warm else self._machine()
        machine.wait()
        return machine

    def _write_client(self) -> None:
        installed = {"client_id": self.oauth.client_id, "client_secret": self.oauth.client_secret}
        (self.folder / "client.json").write_text(json.dumps({"installed": installed}))

    # What tests use

    def options(self, **changed: object) -> dict[str, str]:
        """A target's options that lead here."""
        standard = {
            "url": "colab://",
            "api": self.url,
            "login_page": f"{self.url}/o/oauth2/v2/auth",
            "token_page": f"{self.url}/token",
            "state": self.folder / "state",
            "cgpu": self.folder / "cgpu",
            "client_file": self.folder / "client.json",
        }
        return {key: str(value) for key, value in {**standard, **changed}.items()}

    def headers(self) -> dict[str, str]:
        """What each call to the control plane must carry; a new login."""
        return {"Authorization": f"Bearer {self.oauth.access()}", "X-Colab-Client-Agent": "test"}

    def client(self) -> httpx.Client:
        """A client that is logged in."""
        params = {"authuser": "0"}
        return httpx.Client(base_url=self.url, headers=self.headers(), params=params, timeout=60, trust_env=False)

    @property
    def runtimes(self) -> dict[str, Runtime]:
        """The machines of all assignments, by endpoint."""
        return {endpoint: found.runtime for endpoint, found in list(self.control.assignments.items())}

    def vanish(self, endpoint: str, forget: bool = True) -> None:
        """End a machine at once."""
        self.control.end(endpoint, "vanished", forget)

    def write_cgpu(self) -> None:
        """Log in as the command cgpu would, and save it where and as it does."""
        state = self.folder / "cgpu/state"
        state.mkdir(parents=True)
        client = {"clientId": self.oauth.client_id, "clientSecret": self.oauth.client_secret}
        domains = {"colabApiDomain": self.url, "colabGapiDomain": self.url}
        account = {"id": "somebody@example.com", "label": "Some Body"}
        session = {"id": "1", "refreshToken": self.oauth.issue(), "scopes": ["profile", "email", COLAB_SCOPE]}
        (state.parent / "config.json").write_text(json.dumps({**client, **domains}))
        (state / "session.json").write_text(json.dumps({**session, "account": account}))

    @contextmanager
    def offline(self) -> Iterator[None]:
        """Let nothing listen at the control plane's port for a while."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    # Serving

    def _start(self) -> None:
        sock = socket.create_server(("127.0.0.1", self._port))
        config = uvicorn.Config(self.app, log_config=None, access_log=False, lifespan="off", timeout_keep_alive=60)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([sock],))
        self._thread.start()

    def _stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def close(self) -> None:
        """End everything: the pages, and all machines."""
        self.faults.over.set()
        self._stop()
        self.control.close()
        for machine in self._warm:
            machine.vanish()


@contextmanager
def double(folder: Path, warm: int = 1) -> Iterator[Double]:
    """Serve in `folder`, with `warm` machines started at once."""
    google = Double(folder, warm)
    google._start()
    try:
        yield google
    finally:
        google.close()

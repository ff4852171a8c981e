"""Serves the double from a thread, with machines that are started before anybody asks for them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from executors.colab.address import Address
from executors.colab.client import Client
from executors.colab.login import Key, save
from tests.colab.double.api import application
from tests.colab.double.control import Control
from tests.colab.double.faults import Faults
from tests.colab.double.oauth import COLAB, OAuth
from tests.colab.double.runtime import Runtime, namespace, plain
from tests.ports import reserved


class Double:
    """Google, as far as this project knows it. All its pages are at `url`.

    `folder` holds its `machines`, all that were ever started, and the files of its user.
    """

    def __init__(self, folder: Path, warm: int, wired: bool) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._wired, self.machines = wired, list[Runtime]()
        self._warm = [self._machine() for _ in range(warm)]
        self.faults, self.oauth = Faults(), OAuth()
        self.control = Control(self._ready_machine)
        self._app = application(self.control, self.oauth, self.faults)
        self._place = reserved()
        self.url = "http://{}:{}".format(*self._place.getsockname())
        self.start()
        installed = {"client_id": self.oauth.client_id, "client_secret": self.oauth.client_secret}
        (folder / "client.json").write_text(json.dumps({"installed": installed}))

    def _machine(self) -> Runtime:
        self.machines.append(Runtime(self.folder / f"machine-{len(self.machines)}", self._wired))
        return self.machines[-1]

    def _ready_machine(self) -> Runtime:
        machine = self._warm.pop() if self._warm else self._machine()
        machine.wait()
        return machine

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

    def client(self) -> httpx.Client:
        """A client of the control plane that is logged in, and carries what each call must."""
        headers = {"Authorization": f"Bearer {self.oauth.access()}", "X-Colab-Client-Agent": "test"}
        always = {"authuser": "0"}
        return plain(base_url=self.url, headers=headers, params=always)

    def log_in(self, state: Path | None = None) -> str:
        """Save a login in a target's state folder, as `offload targets login` does; returns its refresh token."""
        key = Key(Client(self.oauth.client_id, self.oauth.client_secret), self.oauth.issue())
        save(Address.of("colab", self.options(state=state or self.folder / "state")), key)
        return key.refresh_token

    def log_in_cgpu(self) -> str:
        """Save a login where the command cgpu does, and as it does; returns its refresh token."""
        state = self.folder / "cgpu/state"
        state.mkdir(parents=True)
        client = {"clientId": self.oauth.client_id, "clientSecret": self.oauth.client_secret}
        domains = {"colabApiDomain": self.url, "colabGapiDomain": self.url}
        account = {"id": "1234567890", "label": self.oauth.account}
        session = {"id": "1", "refreshToken": self.oauth.issue(), "scopes": ["profile", "email", COLAB]}
        (self.folder / "cgpu/config.json").write_text(json.dumps({**client, **domains}))
        (state / "session.json").write_text(json.dumps({**session, "account": account}))
        return str(session["refreshToken"])

    @property
    def runtimes(self) -> dict[str, Runtime]:
        """The machines of all assignments, by endpoint."""
        return {endpoint: found.runtime for endpoint, found in list(self.control.assignments.items())}

    def vanish(self, endpoint: str, forget: bool = True) -> None:
        """End a machine at once. One that is not forgotten stays in the account's list."""
        self.control.end(endpoint, "vanished", forget)

    @contextmanager
    def offline(self) -> Iterator[None]:
        """Let nothing listen for a while where the pages are. Runtimes can be reached as before."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    # Serving

    def start(self) -> None:
        """Serve, always on the same port."""
        listener = socket.create_server(self._place.getsockname())
        self.faults.over.clear()
        config = uvicorn.Config(self._app, log_config=None, access_log=False, lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()

    def stop(self) -> None:
        """Finish what was asked, and listen no more."""
        self.faults.over.set()
        self._server.should_exit = True
        self._thread.join()

    def close(self) -> None:
        """End everything."""
        self.stop()
        self._place.close()
        self.control.close()
        for machine in self.machines:  # also one that nobody has asked for, or that never answered
            machine.vanish()


@contextmanager
def double(folder: Path, warm: int = 1, wired: bool = False) -> Iterator[Double]:
    """Serve from `folder`, with `warm` machines that have been started; skips where no machine can be made.

    `wired` machines are behind a wire that can be jammed and cut.
    """
    if not namespace():
        pytest.skip("no pid namespace can be made here")
    google = Double(folder, warm, wired)
    try:
        yield google
    finally:
        google.close()

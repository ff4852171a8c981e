"""How the tests of the double ask it: as plain clients, by words of their own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from executors.colab.places import new_hash
from tests.colab.double.runtime import HEADER, PATIENCE, Runtime, plain

GUARD = ")]}'\n"
TUNNEL = {"X-Colab-Tunnel": "Google"}
T4 = {"variant": "GPU", "accelerator": "T4"}


def get(url: str, headers: Mapping[str, str] | None = None, **more: Any) -> httpx.Response:
    """Ask as somebody whom nobody knows."""
    with plain() as client:
        return client.get(url, headers=headers, **more)


def read(response: httpx.Response) -> Any:
    """The JSON of the control plane's answer."""
    assert response.text.startswith(GUARD)
    return json.loads(response.text[len(GUARD) :])


def post(client: httpx.Client, nbh: str, **wanted: str) -> httpx.Response:
    """Ask for a runtime as is proper."""
    token = read(client.get("/tun/m/assign", params={"nbh": nbh, **wanted}))["token"]
    return client.post("/tun/m/assign", params={"nbh": nbh, **wanted}, headers={"X-Goog-Colab-Token": token})


def taken(client: httpx.Client, nbh: str = "", **wanted: str) -> dict[str, Any]:
    """Take a runtime."""
    found: dict[str, Any] = read(post(client, nbh or new_hash(), **wanted))
    return found


def comes(happened: Callable[[], bool]) -> None:
    """Wait for it."""
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.01)


def channels(runtime: Runtime, kernel: str, token: str) -> ClientConnection:
    """A websocket to a kernel."""
    place = f"{runtime.url.replace('http', 'ws')}/api/kernels/{kernel}/channels"
    return connect(place, additional_headers={HEADER: token}, proxy=None, open_timeout=PATIENCE, compression=None)


def said_by(websocket: ClientConnection, code: str) -> str:
    """What some Python prints in the kernel."""
    header = {"msg_id": "1", "msg_type": "execute_request", "username": "", "session": "1", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
    websocket.send(json.dumps(message))
    while (heard := json.loads(websocket.recv(timeout=PATIENCE)))["msg_type"] != "stream":
        assert heard["msg_type"] != "error", heard
    return str(heard["content"]["text"])


def run(machine: Runtime, shown: dict[str, str], code: str) -> None:
    """Run some Python in a kernel that is left there."""
    with plain() as client:
        kernel = client.post(f"{machine.url}/api/kernels", headers=shown).json()["id"]
    with channels(machine, kernel, shown[HEADER]) as websocket:
        assert said_by(websocket, f"{code}; print('done')") == "done\n"

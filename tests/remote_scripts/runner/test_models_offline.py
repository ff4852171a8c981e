"""Offline is a fact: no connection is made by whoever brings models, and none is allowed to a script."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _runner import state

from tests.hub import Hub, sha256
from tests.remote_scripts.runner.environments import events
from tests.remote_scripts.runner.job import FOLDER, JOB, request, wait_for_end
from tests.remote_scripts.runner.supplies import FILES, SCRIPT, begin, finished, model, provide, published

RECORDER = """
import sys
def record(event, arguments):
    if event.startswith("socket."):
        with open({said!r}, "a") as said:
            print(event, file=said)
sys.addaudithook(record)
"""
ASKS = """
import _job, socket, sys
WAYS = {
    "connect": lambda: socket.create_connection(("127.0.0.1", int(sys.argv[2]))),
    "connect_ex": lambda: socket.socket().connect_ex(("127.0.0.1", int(sys.argv[2]))),
    "getaddrinfo": lambda: socket.getaddrinfo("example.org", 443),
    "gethostbyname": lambda: socket.gethostbyname("example.org"),
    "sendto": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int(sys.argv[2]))),
    "sendmsg": lambda: socket.socket(type=socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, ("127.0.0.1", int(sys.argv[2]))),
    "urllib": lambda: __import__("urllib.request").request.urlopen("http://127.0.0.1:" + sys.argv[2], timeout=5),
    "unix": lambda: socket.socket(socket.AF_UNIX).connect("s"),
    "pair": lambda: [end.sendmsg([b"x"]) for end in socket.socketpair()],
}
def do(job, item):
    WAYS[job.params["way"]]()
    return _job.Result(())
sys.exit(_job.run(do))
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING", "TORCH_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What every Python that is started writes down of its sockets."""
    (tmp_path / "recorder").mkdir()
    said = tmp_path / "said"
    said.touch()
    (tmp_path / "recorder" / "sitecustomize.py").write_text(RECORDER.format(said=str(said)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "recorder"))
    return said


class TestTheRunner:
    def test_uses_no_socket_for_what_is_here(self, root: Path, hub: Hub, said: Path) -> None:
        wanted = published(hub)
        provide(root, wanted, name=JOB + "first")
        assert set(finished(begin(root, wanted, offline=True))["files"].values()) == set(map(sha256, FILES.values()))
        assert said.read_text() == ""

    def test_uses_none_for_what_is_missing(self, root: Path, hub: Hub, said: Path) -> None:
        folder = begin(root, published(hub), offline=True)
        wait_for_end(folder)
        assert (state.last_word(folder) or {})["error"]["kind"] == "no_model"
        assert said.read_text() == ""

    def test_else_uses_some(self, root: Path, hub: Hub, said: Path) -> None:
        finished(begin(root, published(hub)))
        assert "socket.connect" in said.read_text()

    def test_works_where_the_kernel_has_no_network_at_all(self, root: Path, hub: Hub) -> None:
        unshare = without_network()
        wanted = published(hub)
        provide(root, wanted, name=JOB + "first")
        (root / "scripts" / "v1" / "seen.py").write_text(SCRIPT)
        order = request(script="v1/seen.py", models=[wanted], offline=True)
        command = [*unshare, sys.executable, str(root / "scripts" / "v1" / "runner.py"), "start"]
        subprocess.run(command, input=json.dumps(order).encode(), check=True, capture_output=True)
        assert len(finished(root / "jobs" / JOB)["files"]) == len(FILES)

    def test_where_it_has_none_says_so_of_what_is_missing(self, root: Path) -> None:
        order = request(models=[model("0" * 40)])
        command = [*without_network(), sys.executable, str(root / "scripts" / "v1" / "runner.py"), "start"]
        subprocess.run(command, input=json.dumps(order).encode(), check=True, capture_output=True)
        wait_for_end(root / "jobs" / JOB)
        said = (state.last_word(root / "jobs" / JOB) or {})["error"]["message"]
        assert said.startswith("tiny (0.4 MB) is not here: huggingface.co cannot be reached: ")
        assert events(root / "jobs" / JOB, "lacks")


class TestAScript:
    @pytest.mark.parametrize(
        "way", ["connect", "connect_ex", "getaddrinfo", "gethostbyname", "sendto", "sendmsg", "urllib"]
    )
    def test_is_refused_every_way_to_another_machine(self, tmp_path: Path, way: str) -> None:
        event, connections = asked(tmp_path, way, offline=True)
        assert event["type"] == "item_failed"
        assert "this job is offline, and may not ask" in event["error"]
        assert connections == 0

    @pytest.mark.parametrize("way", ["unix", "pair"])
    def test_may_speak_with_its_own_processes(self, tmp_path: Path, way: str) -> None:
        assert asked(tmp_path, way, offline=True)[0]["type"] == "item_done"

    def test_may_ask_when_it_is_not_offline(self, tmp_path: Path) -> None:
        event, connections = asked(tmp_path, "connect", offline=False)
        assert (event["type"], connections) == ("item_done", 1)


def without_network() -> list[str]:
    """What goes before a command that is to have no network; skips where that is not allowed."""
    for words in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        if shutil.which("unshare") and not subprocess.run([*words, "true"], capture_output=True).returncode:
            return words
    pytest.skip("a namespace without network is not allowed here")


def asked(folder: Path, way: str, offline: bool) -> tuple[dict[str, str], int]:
    """How a script fares that asks for a connection, and how many it made."""
    shutil.copy(FOLDER / "_job.py", folder)
    (folder / "asks.py").write_text(ASKS)
    spec = {"params": {"way": way}, "items": [{"index": 0, "input": "x"}]}
    (folder / "job.json").write_text(json.dumps(spec))
    environment = {**os.environ, **({"OFFLOAD_OFFLINE": "1"} if offline else {})}
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        with contextlib.chdir(folder):  # a socket's path is short
            local.bind("s")
        local.listen()
        command = [sys.executable, "asks.py", "job.json", str(server.getsockname()[1])]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
        return json.loads(done.stdout.splitlines()[-1]), connections(server)


def connections(server: socket.socket) -> int:
    """How many have come."""
    server.setblocking(False)
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return 0
    return 1

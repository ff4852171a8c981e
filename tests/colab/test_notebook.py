"""The notebook for who opens Colab by hand, cell by cell on a machine of the double; and what it prints is typed."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from tests import fakework
from tests.colab.double import Double, double
from tests.colab.double.asking import channels, taken
from tests.colab.double.runtime import HEADER, PATIENCE, Runtime, plain
from tests.executors.sshd import free_port
from tests.services.typed import fake, offload
from tests.ssh.jobs import tried

NOTEBOOK = Path(__file__).parents[2] / "notebooks/offload_colab.ipynb"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    """Google, with a runtime that somebody has opened by hand."""
    with double(tmp_path_factory.mktemp("by-hand") / "google") as google:
        with google.client() as client:
            taken(client, variant="GPU", accelerator="T4")
        yield google


def cells(address: str, port: int) -> list[str]:
    """The code of the notebook, with its form filled in."""
    document = json.loads(NOTEBOOK.read_text("utf-8"))
    found = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in document["cells"] if cell["cell_type"] == "code")
    assert found[0].startswith('ADDRESS = ""')
    return [f"ADDRESS, PORT = {address!r}, {port}", *found[1:]]


def executed(websocket: ClientConnection, code: str) -> str:
    """What a cell prints."""
    header = {"msg_id": code[:40], "msg_type": "execute_request", "username": "", "session": "1", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
    websocket.send(json.dumps(message))
    said, ended = "", set[str]()
    while not {"execute_reply", "idle"} <= ended:
        heard = json.loads(websocket.recv(timeout=PATIENCE))
        assert heard["msg_type"] != "error", heard["content"]
        if heard["parent_header"].get("msg_id") != code[:40]:
            continue
        if heard["msg_type"] == "stream":
            said += heard["content"]["text"]
        ended |= {heard["msg_type"], str(heard["content"].get("execution_state"))}
    return said


def run(machine: Runtime, code: list[str]) -> Iterator[list[str]]:
    """Open the notebook and run it from top to bottom; its kernel lives until the test has ended."""
    shown = {HEADER: machine.let_in(PATIENCE)}
    with plain(base_url=machine.url, headers=shown) as client:
        session = {"path": "content/n.ipynb", "name": "n", "type": "notebook", "kernel": {"name": "python3"}}
        started = client.post("/api/sessions", json=session).json()
        with channels(machine, started["kernel"]["id"], shown[HEADER]) as websocket:
            executed(websocket, f"import os; os.chdir({str(machine.content)!r})")
            yield [executed(websocket, cell) for cell in code]
        client.delete(f"/api/sessions/{started['id']}")


def test_without_an_address_nothing_is_opened(cloud: Double) -> None:
    (machine,) = cloud.runtimes.values()
    before = len(machine.processes())
    for said in run(machine, cells("", free_port())):
        assert "GPU: Tesla T4" in said[1]
        assert said[3] == "nothing is opened\n"
        assert said[4].splitlines()[0] == "offload targets add colab colab://"
        assert not (machine.content / "offload-token").exists()
        assert len(machine.processes()) <= before + 1  # its kernel


def test_the_line_it_prints_is_typed_and_a_job_runs_there(cloud: Double, offload_dirs: Path, tmp_path: Path) -> None:
    (machine,), port = cloud.runtimes.values(), free_port()
    for said in run(machine, cells(f"http://127.0.0.1:{port}", port)):
        token = (machine.content / "offload-token").read_text()
        assert token not in "".join(said)
        *_, typed = said[4].splitlines()
        shutil.copyfile(machine.content / "offload-token", tmp_path / "offload-token")
        (tmp_path / "offload-token").chmod(0o600)
        added = offload(tmp_path, *shlex.split(typed)[1:])
        assert added.code == 0, added.err
        (tmp_path / "a.dat").write_text("a")
        done = fake(tmp_path, "a.dat", "--on", "by-hand", "--json")
        assert done.code == 0, done.err
        assert tried(done) == [("by-hand", "done")]
        assert (tmp_path / "a.worked.bin").read_bytes() == fakework.expected(b"a")
        assert list((machine.content / "offload-root").iterdir())

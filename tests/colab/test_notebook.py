"""The notebook for who opens Colab by hand, cell by cell on a machine of the double; and what it prints is typed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from tests import fakework
from tests.colab import person
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


def executed_alone(folder: Path, address: str, port: int, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the code by a Python of its own; what it starts is ended with it."""
    code = "\n".join([*cells(address, port), "globals().get('SERVER') and SERVER.kill()"])
    environment = {**os.environ, **env}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


def assert_job_runs_on(target: str, folder: Path) -> None:
    (folder / "a.dat").write_text("a")
    done = fake(folder, "a.dat", "--on", target, "--json")
    assert done.code == 0, done.err
    assert tried(done) == [(target, "done")]
    assert (folder / "a.worked.bin").read_bytes() == fakework.expected(b"a")


def typed(folder: Path, printed: str) -> None:
    """Type what it printed, line by line."""
    for line in printed.splitlines():
        if not line.startswith("#"):
            program, *words = shlex.split(line)
            if program == "offload":
                said = offload(folder, *words)
                assert said.code == 0, said.err
            else:
                subprocess.run([program, *words], cwd=folder, check=True)


def test_without_an_address_nothing_is_opened(cloud: Double) -> None:
    (machine,) = cloud.runtimes.values()
    before = len(machine.processes())
    for said in run(machine, cells("", free_port())):
        assert "GPU: Tesla T4" in said[1]
        assert said[3] == "nothing is opened\n"
        assert "offload targets add colab colab://\n" in said[4]
        assert not (machine.content / "offload-token").exists()
        assert len(machine.processes()) <= before + 1  # its kernel


def test_the_line_it_prints_is_typed_and_a_job_runs_there(cloud: Double, offload_dirs: Path, tmp_path: Path) -> None:
    (machine,), port = cloud.runtimes.values(), free_port()
    for said in run(machine, cells(f"http://127.0.0.1:{port}", port)):
        token = (machine.content / "offload-token").read_text()
        assert token not in "".join(said)
        shutil.copyfile(machine.content / "offload-token", tmp_path / "offload-token")
        typed(tmp_path, said[4])
        assert_job_runs_on("by-hand", tmp_path)
        assert list((machine.content / "offload-root").iterdir())


def test_run_again_it_finds_the_server_that_is_there(cloud: Double) -> None:
    (machine,), (port, other) = cloud.runtimes.values(), (free_port(), free_port())
    address = f"http://127.0.0.1:{port}"
    form, *rest = code = cells(address, port)
    state = ["print(SERVER.pid, SERVER.poll(), TOKEN_FILE.read_text())"]
    again = [*code, *state, "before = SERVER", *code, *state, "SERVER = None", *code, "SERVER = before"]
    elsewhere = [form.replace(str(port), str(other)), *rest, "print(before.poll() is None, SERVER.poll())"]
    for said in run(machine, [*again, *elsewhere]):
        assert said[3] == f"a server listens on 127.0.0.1:{port}\n"
        assert said[5] == said[12]
        assert said[10] == said[17] == f"the server that was started before listens on 127.0.0.1:{port}\n"
        assert said[-3] == f"a server listens on 127.0.0.1:{other}\n"
        assert said[-1] == "False None\n"


def test_a_port_that_is_in_use_costs_no_token(tmp_path: Path) -> None:
    (tmp_path / "offload-token").write_text("before")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = executed_alone(tmp_path, "https://host:8888", port)
    assert (done.returncode, f"something else listens on port {port}" in done.stderr) == (1, True)
    assert (tmp_path / "offload-token").read_text() == "before"


@pytest.mark.parametrize("address", [" my box/", "host:8888", "ftp://host/", "https://me:word@host/", "https://h/;id"])
def test_what_is_no_address_is_refused_before_anything_is_made(address: str, tmp_path: Path) -> None:
    done = executed_alone(tmp_path, address, free_port())
    assert done.returncode == 1
    assert done.stderr.startswith(f"ADDRESS {address.strip()!r} is no address: write it as in https://")
    assert not list(tmp_path.glob("offload-*"))


def test_without_a_gpu_it_says_what_that_means_and_goes_on(tmp_path: Path) -> None:
    done = executed_alone(tmp_path, "", free_port(), PATH="/nowhere")
    assert "no GPU: jobs will use the CPU" in done.stdout
    assert done.stdout.endswith("offload targets login colab\n")


def test_the_line_without_an_address_is_typed_and_a_job_runs_there(
    offload_dirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER", shlex.join([sys.executable, person.__file__, "%s"]))
    printed = executed_alone(tmp_path, "", free_port()).stdout.partition("# first end this runtime")[2]
    add, login = printed.splitlines()[-2:]
    with double(tmp_path / "google") as google:
        typed(tmp_path, add)
        with (offload_dirs / "config/targets.toml").open("a") as file:  # in place of Google's addresses
            for key in ("api", "login_page", "token_page", "client_file"):
                file.write(f"{key} = {json.dumps(google.options()[key])}\n")
        typed(tmp_path, login)
        assert_job_runs_on("colab", tmp_path)

"""Real machines for whole commands: a server, one that can vanish, one that knows nothing, one behind a bad wire."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import media
from tests.executors.sshd import Server, sshd
from tests.offload.background import until
from tests.ssh.jobs import configure, through
from tests.ssh.wire import Wire, wire

NAMESPACE = ("unshare", "--pid", "--mount-proc", "--fork", "--kill-child")
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
CLIP_BYTES = 20_000_000


class Machine(Server):
    """A server whose processes live in a pid namespace of their own, so that it can vanish."""

    def __init__(self, folder: Path, **environment: str) -> None:
        super().__init__(folder, environment, NAMESPACE)

    def vanish(self) -> None:
        """End all its processes, and delete its disk."""
        self.process.kill()  # the namespace goes with the process that holds it
        self.process.wait()
        shutil.rmtree(self.folder / "root", ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, offload_dirs: Path) -> Iterator[None]:
    """After every test: no half-written file, and no process of a command."""
    yield
    assert not list(tmp_path.rglob("*.part"))
    until(lambda: not any(_is_ours(process, offload_dirs) for process in psutil.process_iter()), "the end of all")


def _is_ours(process: psutil.Process, dirs: Path) -> bool:
    try:
        ours = process.environ().get("OFFLOAD_CACHE_DIR") == str(dirs / "cache")
        return ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:  # somebody else's, or gone while we looked
        return False


@pytest.fixture(autouse=True)
def impatience(offload_dirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes away in a test stays away."""
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "1")


@pytest.fixture
def patience(impatience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes away may come back."""
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "100")


@pytest.fixture
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An input, of several parts or the size that the test asks for. Whatever happens, it is not touched."""
    path = tmp_path / "media/clip.dat"
    path.parent.mkdir()
    path.write_bytes(content := os.urandom(getattr(request, "param", CLIP_BYTES)))
    before = path.stat()
    yield path
    assert path.read_bytes() == content
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """A second of video."""
    return media.clip(tmp_path / "footage.mp4")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A machine with the Python of the tests on its PATH."""
    with sshd(tmp_path, PATH=PATH) as server:
        yield server


@pytest.fixture
def box(server: Server, offload_dirs: Path) -> Server:
    """The server, configured as the target `box`."""
    configure(offload_dirs, server)
    return server


@pytest.fixture
def cable(server: Server, offload_dirs: Path) -> Iterator[Wire]:
    """A wire to the server, which is the target `box` at its near end."""
    with wire(server.port) as laid:
        configure(offload_dirs, server, url=through(server, laid.port))
        yield laid


@pytest.fixture
def machine(tmp_path: Path, offload_dirs: Path) -> Iterator[Machine]:
    """A machine that can vanish, configured as the target `box`."""
    yield from started(Machine(tmp_path / "machine", PATH=PATH), offload_dirs)


@pytest.fixture
def bare_machine(tmp_path: Path, offload_dirs: Path, bare_python: Path) -> Iterator[Machine]:
    """One whose Python has no package of ours, but knows where to get them."""
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    yield from started(Machine(tmp_path / "machine", PATH=f"{bare_python}:/usr/bin:/bin", **pip), offload_dirs)


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Python that has no package of ours."""
    bare = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    return bare / "bin"


def started(machine: Machine, dirs: Path) -> Iterator[Machine]:
    """Start a machine and make it the target `box`; it vanishes in the end. Skips where it could not."""
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no pid namespace can be made here")
    machine.start()
    configure(dirs, machine)
    yield machine
    machine.vanish()

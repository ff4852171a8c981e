"""Commands that go to a Colab runtime: caught in the middle, and what must hold afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from broker.scripts import bundle
from tests import fakework
from tests.colab.double import Double
from tests.colab.double.runtime import Runtime
from tests.offload.background import until
from tests.processes import told
from tests.services.typed import Said
from tests.ssh.conftest import CLIP_BYTES
from tests.ssh.jobs import Command, Work, made_by, tried
from tests.ssh.wire import Wire

THERE, LOST, HERE = ("colab", "done"), ("colab", "lost"), ("local", "done")
"""Attempts, as `tried` tells them."""


def furnish(google: Double, script: Path | None = None) -> None:
    """Have the fake work's scripts, or another's, on the machines that are there, as a first job would: in seconds."""
    scripts = bundle(script or Path(fakework.__file__).with_name("work.py").resolve())
    for machine in google.machines:
        folder = machine.content / "offload/scripts" / scripts.id
        for name, path in scripts.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
        (folder / "installed").write_text("yes")


def wire_to(machine: Runtime) -> Wire:
    """The wire to a machine of a double that is wired."""
    assert machine.wire
    return machine.wire


def there(machine: Runtime, pattern: str) -> list[Path]:
    """What lies under the target's root."""
    return list((machine.content / "offload").glob(pattern))


def at_work(machine: Runtime) -> bool:
    """Whether an item is half-way on a machine."""
    return bool(there(machine, "jobs/*/out/*/worked.bin"))


def taken(command: Command, google: Double, but: str = "") -> str:
    """The name of the runtime, another than `but`, that the account has as soon as a command has taken it."""
    found: list[str] = []
    command.comes_to(lambda: found.extend(name for name in google.runtimes if name != but) or found)
    return found[0]


def come_to(command: Command, work: Work, machine: Runtime, stage: str) -> None:
    """Wait until a command is in the middle of a stage, and let it get no further where that is a transfer."""
    wire = wire_to(machine)
    if stage == "upload":
        wire.jam(after=CLIP_BYTES // 2)
    else:
        command.comes_to(lambda: at_work(machine))
    if stage == "download":
        wire.jam(after=work.size // 2)
        work.go_on()
    if stage != "run":
        command.comes_to(wire.jammed.is_set)


def assert_ended(work: Work, said: Said, *attempts: tuple[str, str], made: list[int] | None = None) -> None:
    """The command ended well after these attempts, the last of which made all items unless `made` tells."""
    assert said.code == 0, said.err
    assert tried(said) == list(attempts), said.err
    assert made_by(said) == (made or [len(attempts)] * len(work.clips))
    assert [item["index"] for item in said.document["items"]] == list(range(len(work.clips)))
    work.assert_published()


def assert_nothing_left(google: Double, but_kernels: bool = False) -> None:
    """Nothing of any job is on the machines that the account has: no process, no file of one, no part."""
    for machine in google.runtimes.values():
        until(
            lambda machine=machine: len(_processes(machine, but_kernels)) == 1,
            lambda machine=machine: f"that only Jupyter runs there: {told(_processes(machine, but_kernels))}",
        )
        assert not there(machine, "jobs/*")
        assert not there(machine, "parts/*")


def _processes(machine: Runtime, but_kernels: bool) -> list[psutil.Process]:
    found = machine.processes()
    return [one for one in found if not _is_kernel(one)] if but_kernels else found


def _is_kernel(process: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it has just ended
        return "ipykernel_launcher" in process.cmdline()
    return False


def in_the_middle(command: Command, wire: Wire, after: int, do: Callable[[], object]) -> None:
    """Do something when so much more has been carried, while nothing is; then let it be carried on."""
    wire.jam(after)
    command.comes_to(wire.jammed.is_set)
    do()
    wire._flows.set()

"""A batch shared between this machine and another, which may vanish in the middle."""

from __future__ import annotations

from pathlib import Path

from broker import settings
from tests.executors.sshd import Server, needs_sshd
from tests.ssh.conftest import Machine
from tests.ssh.jobs import Work, configure, made_by, tried

pytestmark = needs_sshd


def clips(folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    found = [folder / f"{number}.dat" for number in range(count)]
    for number, path in enumerate(found):
        path.write_bytes(f"clip {number}".encode())
    return found


def test_both_do_a_part(box: Server, tmp_path: Path) -> None:
    work = Work(*clips(tmp_path / "media", 4), words=("--spread",))
    with work.typed() as command:
        roots = (box.folder / "root", settings.load().cache_dir / "local")
        command.comes_to(lambda: all(list(root.glob("jobs/*/out/*/worked.bin")) for root in roots))
        for root in roots:  # the first of each: nobody is done then, and could take it over
            (first,) = root.glob("jobs/*/out/*/worked.bin")
            work.go_on(int(first.parent.name))
        command.comes_to(lambda: sum(output.exists() for output in work.outputs) == len(roots))
        said = work.end(command)
    assert said.code == 0, said.err
    work.assert_published()
    assert set(tried(said)) == {("box", "done"), ("local", "done")}
    assert {1, 2} <= set(made_by(said))  # who is done first may take over what is left


def test_what_a_machine_that_vanishes_had_left_is_done_here(
    machine: Machine, offload_dirs: Path, tmp_path: Path
) -> None:
    configure(offload_dirs, machine)
    work = Work(*clips(tmp_path / "media", 4), words=("--spread",))
    with work.typed() as command:
        command.comes_to(lambda: list((machine.folder / "root").glob("jobs/*/out/*/worked.bin")))
        machine.vanish()
        said = work.end(command)
    assert said.code == 0, said.err
    work.assert_published()
    targets = [target for target, _ in tried(said)]
    assert {targets[number - 1] for number in made_by(said)} == {"local"}

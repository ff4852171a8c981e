"""Whole jobs through the command cgpu: the same as here; and what is in the way ends in a sentence and a fallback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

import remote_scripts
from broker.scripts import bundle, runner
from tests import fakework
from tests.colab.conftest import configure
from tests.colab.double import double
from tests.colab.jobs import HERE, LOST, at_work, furnish, taken
from tests.colab.test_commands import SAMPLE
from tests.executors.cgpu_double import Cgpu, cgpu
from tests.services.everywhere import TRANSCRIBE, assert_same_there_as_here
from tests.services.typed import Said, fake, offload, stabilize
from tests.ssh.conftest import clip
from tests.ssh.jobs import Work, tried

__all__ = ["clip"]


@pytest.fixture
def command(tmp_path: Path, offload_dirs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cgpu]:
    """The command, and the target `colab` that is reached by it."""
    with double(tmp_path / "google") as google, cgpu(google, monkeypatch) as command:
        furnish(google)
        command.connect()
        configure(offload_dirs, google, url="colab+cgpu://", client_file="")
        yield command


def scripts(command: Cgpu, service: str) -> None:
    """Have a service's scripts there: that seventy small files can be put is shown by a film, and takes long."""
    furnish(command.google, Path(remote_scripts.__path__[0]) / f"{service}.py")


def test_a_film_is_stabilised_to_the_same_bytes_on_a_machine_that_has_nothing_of_ours(
    command: Cgpu, tmp_path: Path
) -> None:
    """All the scripts are sent by it, one by one."""
    there = command.google.machines[0].content / "offload/scripts" / bundle(runner()).id
    assert not there.exists()
    for target in ("local", "colab"):
        said = stabilize(tmp_path, SAMPLE, "-o", f"{target}.mp4", "--on", target, "--preset", "ultrafast", "--json")
        assert said.code == 0, said.err
        assert tried(said) == [(target, "done")]
    assert (tmp_path / "local.mp4").read_bytes() == (tmp_path / "colab.mp4").read_bytes()
    assert (there / "installed").exists()
    assert command.calls["copy"]


def test_speech_is_transcribed_to_the_same_words(command: Cgpu, tmp_path: Path) -> None:
    scripts(command, "transcribe")
    assert_same_there_as_here(TRANSCRIBE, tmp_path / "media", "colab")
    assert command.calls["copy"]


def test_a_batch_of_three(command: Cgpu, tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    for name in names:
        (tmp_path / f"{name}.dat").write_text(name)
    said = fake(tmp_path, *(f"{name}.dat" for name in names), "--on", "colab", "--json")
    assert said.code == 0, said.err
    assert tried(said) == [("colab", "done")]
    for name in names:
        assert (tmp_path / f"{name}.worked.bin").read_bytes() == fakework.expected(name.encode())
    assert command.google.faults.calls["assign"] == 1
    released = offload(tmp_path, "targets", "release", "colab")
    assert released.code == 7
    assert "cgpu cannot give a runtime back" in released.err


@pytest.mark.parametrize(("way", "code", "word"), [("revoked", 7, "refused"), ("quota", 8, "full")])
def test_what_a_failed_test_found_is_what_the_list_tells(
    way: str, code: int, word: str, command: Cgpu, tmp_path: Path
) -> None:
    """A moment ago all was well, and a look at a quota that is used up sees nothing of it."""
    if way == "revoked":
        command.google.oauth.revoke()
    else:
        command.google.control.quota = 0
    assert offload(tmp_path, "targets", "test", "colab").code == code
    row = offload(tmp_path, "targets", "ls").lines[0]
    assert row.startswith(f"colab\tcolab\t{word}\t"), row


def typed(command: Cgpu, folder: Path) -> Said:
    (folder / "a.dat").write_text("a")
    return fake(folder, "a.dat", "--json")


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("offline", "connection refused; going on with local"),
        ("revoked", "Google does not take the login of cgpu"),
        ("quota", "insufficient quota"),
    ],
)
def test_what_is_in_the_way_is_told_and_this_machine_does_it(
    way: str, sentence: str, command: Cgpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "1")
    session = command.session.read_bytes()
    if way == "revoked":
        command.google.oauth.revoke()
    if way == "quota":
        command.google.control.quota = 0
    with command.google.offline() if way == "offline" else nullcontext():
        said = typed(command, tmp_path)
    assert said.code == 0, said.err
    assert tried(said)[-1] == HERE
    assert sentence in said.err, said.err
    assert (tmp_path / "a.worked.bin").read_bytes() == fakework.expected(b"a")
    if way == "revoked":  # cgpu deletes it, and what is in it opens nothing any more
        assert not command.session.exists()
    else:
        assert command.session.read_bytes() == session


@pytest.mark.parametrize("clip", [1000], indirect=True)
def test_where_its_runtime_is_killed_and_there_is_no_other_this_machine_does_the_rest(
    command: Cgpu, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "100")
    session, work = command.session.read_bytes(), Work(clip)
    with work.typed() as typing:
        lost = taken(typing, command.google)
        typing.comes_to(lambda: at_work(command.google.runtimes[lost]))
        command.google.control.quota = 0
        command.google.vanish(lost)
        said = work.end(typing)
    assert said.code == 0, said.err
    assert (tried(said)[0], tried(said)[-1]) == (LOST, HERE)
    work.assert_published()
    assert "the runtime is gone" in said.err
    assert "insufficient quota" in said.err
    assert command.session.read_bytes() == session

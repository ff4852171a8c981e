"""A target that is not what it was, or does not let us in: said loudly, never tried again, and no harm to the job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.executors.sshd import Server, fingerprint, make_key, needs_sshd, public
from tests.services.typed import offload
from tests.ssh.jobs import Work, configure, tried

pytestmark = needs_sshd


@pytest.fixture
def changed_key(box: Server) -> Path:
    """Another key than the server's, which we take for its own."""
    other = make_key(box.folder / "other")
    box.known_hosts.write_text(f"[127.0.0.1]:{box.port} {public(other)}\n")
    return other


@pytest.fixture
def refused_login(box: Server, offload_dirs: Path) -> None:
    """We have a key that the server does not take."""
    configure(offload_dirs, box, identity=make_key(box.folder / "stranger"))


@pytest.mark.parametrize("words", [("--no-fallback",), ("--on", "box")], ids=" ".join)
def test_changed_key_ends_with_7_and_both_fingerprints(
    box: Server, changed_key: Path, clip: Path, words: tuple[str, ...]
) -> None:
    work = Work(clip, words=words)
    said = work.type()
    assert said.code == 7
    assert all(fingerprint(key) in said.err for key in (box.host_key, changed_key))
    assert "box" in said.err
    assert "try again" not in said.err
    work.assert_nothing_published()


def test_changed_key_does_not_stop_the_job_here(changed_key: Path, clip: Path) -> None:
    assert_done_here_loudly(Work(clip), [])  # it is refused at the look


def test_refused_login_ends_with_7(refused_login: None, clip: Path) -> None:
    work = Work(clip, words=("--no-fallback",))
    said = work.type()
    assert said.code == 7
    assert "box: login at 127.0.0.1" in said.err
    work.assert_nothing_published()


def test_refused_login_does_not_stop_the_job_here(refused_login: None, clip: Path) -> None:
    assert_done_here_loudly(Work(clip), [("box", "lost")])


def assert_done_here_loudly(work: Work, before: Sequence[tuple[str, str]]) -> None:
    said = work.type()
    assert said.code == 0, said.err
    work.assert_published()
    assert said.err.count("REFUSED: box: ") == 1
    assert said.err.count("going on with local") == 1
    assert tried(said) == [*before, ("local", "done")]


def test_trust_shows_the_fingerprint_and_pins_the_key(box: Server, tmp_path: Path) -> None:
    box.known_hosts.unlink()
    assert offload(tmp_path, "targets", "test", "box").code == 7
    said = offload(tmp_path, "targets", "trust", "box", "--yes")
    assert said.code == 0, said.err
    assert fingerprint(box.host_key) in said.err
    assert offload(tmp_path, "targets", "test", "box").code == 0
    assert box.known_hosts.stat().st_mode & 0o777 == 0o600


def test_trust_asks_and_a_no_pins_nothing(box: Server, tmp_path: Path) -> None:
    box.known_hosts.unlink()
    assert offload(tmp_path, "targets", "trust", "box").code == 130
    assert not box.known_hosts.exists()

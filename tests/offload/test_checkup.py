"""`offload targets test` and `ls`: a line a step, and at the first that fails why, what to type and the exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path

import pytest

import services
from tests.executors.sshd import Server, fingerprint, free_port, make_key, needs_sshd, sshd
from tests.executors.test_ssh_breaks import says
from tests.services.typed import ROOT, Said, fake, offload

ENVIRONMENTS = [f"environment of {name}" for name in services.names()]
INSIDE = ["Python", "disk", "GPU", *ENVIRONMENTS, "1 MB there and back"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with sshd(tmp_path_factory.mktemp("target"), PATH=path) as server:
        yield server


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("gate")) as gate:
        yield gate


def job(here: Path, *words: str, **env: str) -> Said:
    """Run the fake work on a clip of its own, as the same person."""
    (here / "clip.dat").write_bytes(b"clip")
    return fake(here, "clip.dat", *words, env={"HOME": str(here), "SSH_AUTH_SOCK": "", **env})


def typed(here: Path, *words: str, **env: str) -> Said:
    """Type `offload WORDS...` as somebody who has no keys, known hosts or agent of their own."""
    return offload(here, *words, env={"HOME": str(here), "SSH_AUTH_SOCK": "", **env})


def configure(**options: object) -> None:
    lines = [f"{key} = {json.dumps(str(value))}" for key, value in options.items()]
    Path(os.environ["OFFLOAD_CONFIG_DIR"], "targets.toml").write_text("\n".join(["[my-box]", *lines]))


def passed(said: Said) -> list[str]:
    return [line[6:].partition(":")[0] for line in said.lines if line.startswith("ok  ")]


def failed(said: Said) -> str:
    """The line of the step that failed, which is the only one, and the last."""
    (line,) = [line for line in said.lines if line.startswith("FAIL")]
    assert line == said.lines[-1]
    return line[6:]


@needs_sshd
def test_a_good_target_passes_every_step_and_ls_knows_what_was_seen(server: Server, here: Path) -> None:
    configure(**server.options())
    said = typed(here, "targets", "test", "my-box")
    assert said.code == 0, said.out
    assert passed(said) == ["name", "TCP", "host key", "login", *INSIDE]
    assert "MB/s up" in said.lines[-1]
    assert not list((server.folder / "root/parts").iterdir())
    row = typed(here, "targets", "ls").lines[0]
    assert row.startswith("my-box\tssh\tup\t")
    assert f"{len(os.sched_getaffinity(0))} CPUs" in row
    assert "GB free; the first reachable target" in row


@needs_sshd
def test_a_name_that_nobody_knows(server: Server, here: Path) -> None:
    configure(**server.options(url="ssh://no-such-host.invalid"))
    said = typed(here, "targets", "test", "my-box")
    assert (said.code, passed(said)) == (5, [])
    assert failed(said).startswith("name: my-box: the name of no-such-host.invalid:22 is not known")
    assert "; type: ssh -F " in failed(said)


@needs_sshd
def test_a_dead_port(server: Server, here: Path) -> None:
    port = free_port()
    configure(**server.options(url=f"ssh://me@127.0.0.1:{port}"))
    said = typed(here, "targets", "test", "my-box")
    assert (said.code, passed(said)) == (5, ["name"])
    assert failed(said).startswith(f"TCP: my-box: 127.0.0.1:{port}: connection refused; type: ssh ")
    assert failed(said).endswith(f"-v -p {port} me@127.0.0.1")


@needs_sshd
def test_a_server_that_is_none_of_ssh(server: Server, here: Path) -> None:
    with says(b"HTTP/1.1 400 Bad Request\r\n\r\n", hang_up=True) as port:
        configure(**server.options(url=f"ssh://127.0.0.1:{port}"))
        said = typed(here, "targets", "test", "my-box")
    assert (said.code, passed(said)) == (5, ["name", "TCP"])
    assert "does not answer as an SSH server" in failed(said)


@needs_sshd
def test_an_unknown_key(server: Server, here: Path) -> None:
    configure(**server.options(known_hosts=here / "known"))
    said = typed(here, "targets", "test", "my-box")
    assert (said.code, passed(said)) == (7, ["name", "TCP"])
    assert failed(said).startswith(f"host key: my-box: the key of [127.0.0.1]:{server.port} is not known: ")
    assert fingerprint(server.host_key) in failed(said)
    assert "offload targets trust my-box" in failed(said)


@needs_sshd
def test_a_key_once_trusted_passes(server: Server, here: Path) -> None:
    configure(**server.options(known_hosts=here / "known"))
    said = typed(here, "targets", "trust", "my-box", "--yes")
    assert said.code == 0, said.err
    assert fingerprint(server.host_key) in said.err
    assert typed(here, "targets", "test", "my-box").code == 0


@needs_sshd
def test_without_a_yes_nothing_is_trusted(server: Server, here: Path) -> None:
    configure(**server.options(known_hosts=here / "known"))
    said = typed(here, "targets", "trust", "my-box")
    assert said.code == 130
    assert not (here / "known").exists()


@needs_sshd
def test_a_key_is_trusted_though_the_login_fails(server: Server, here: Path) -> None:
    configure(**server.options(known_hosts=here / "known", identity=make_key(here / "other")))
    assert typed(here, "targets", "trust", "my-box", "--yes").code == 0
    assert (here / "known").exists()


@needs_sshd
def test_a_login_that_is_refused(server: Server, here: Path) -> None:
    key = make_key(here / "other")
    configure(**server.options(identity=key))
    said = typed(here, "targets", "test", "my-box")
    assert (said.code, passed(said)) == (7, ["name", "TCP", "host key"])
    assert failed(said).startswith(f"login: my-box: login at 127.0.0.1:{server.port} failed")
    assert f"; type: ssh-copy-id -i {key} " in failed(said)
    assert failed(said).endswith(f"-p {server.port} {getuser()}@127.0.0.1")


@needs_sshd
def test_nothing_to_log_in_with(server: Server, here: Path) -> None:
    configure(**server.options(identity=""))
    said = typed(here, "targets", "test", "my-box")
    assert said.code == 7
    assert "there is no key to log in with" in failed(said)
    assert "; type: ssh-keygen -t ed25519 && ssh-copy-id " in failed(said)


@needs_sshd
def test_an_identity_that_is_not_there(server: Server, here: Path) -> None:
    configure(**server.options(identity=here / "gone"))
    said = typed(here, "targets", "test", "my-box")
    assert (said.code, passed(said)) == (7, [])
    assert failed(said).startswith(f"configuration: my-box: its key {here / 'gone'} is not there; type: offload ")
    row = typed(here, "targets", "ls").lines[0]
    assert row.startswith(f"my-box\tssh\trefused\tits key {here / 'gone'} is not there; type: ")


@needs_sshd
def test_what_fails_after_the_login_is_no_failed_login(server: Server, here: Path) -> None:
    configure(**server.options(url=f"ssh://127.0.0.1:{server.port}/dev/null/root"))
    said = typed(here, "targets", "test", "my-box")
    assert (said.code, passed(said)) == (5, ["name", "TCP", "host key", "login"])
    assert "cannot use /dev/null/root there" in failed(said)


@needs_sshd
@pytest.mark.parametrize("what", ["key", "login", "configuration"])
def test_what_is_refused_is_told_the_same_way_by_test_ls_and_a_job(what: str, server: Server, here: Path) -> None:
    wrong = {"key": {"known_hosts": here / "known"}, "login": {"identity": ""}, "configuration": {"identity": "gone"}}
    configure(**server.options(**wrong[what]))
    why, _, hint = failed(typed(here, "targets", "test", "my-box")).partition(": ")[2].partition("; type: ")
    alone = job(here, "--on", "my-box")
    assert alone.code == 7
    assert why in alone.err
    assert hint in alone.err
    row = typed(here, "targets", "ls").lines[0].split("\t")
    assert row[2] == "refused"
    assert why.removeprefix("my-box: ") in row[3]
    moved = job(here)
    assert moved.code == 0
    assert f"REFUSED: {why}" in moved.err
    assert ("asked again" in moved.err) is (what == "login")  # a look logs nobody in, so it would not see it


@needs_sshd
def test_a_login_that_was_mended_counts_once_a_test_passes(server: Server, here: Path) -> None:
    configure(**server.options(identity=(key := make_key(here / "key"))))
    assert typed(here, "targets", "test", "my-box").code == 7
    allowed = server.folder / "authorized_keys"
    before = allowed.read_text()
    allowed.write_text(before + key.with_name("key.pub").read_text())
    assert typed(here, "targets", "test", "my-box").code == 0
    allowed.write_text(before)
    assert typed(here, "targets", "ls").lines[0].startswith("my-box\tssh\tup\t")


# Through a hop


def way(folder: Path, gate: Server, server: Server, **changed: object) -> dict[str, str]:
    config, known = folder / "config", folder / "known"
    known.write_text(gate.known_hosts.read_text() + server.known_hosts.read_text())
    keys = {"outer": gate.user_key, "inner": server.user_key, "port": server.port, **changed}
    config.write_text(
        f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n IdentityFile {keys['outer']}\n"
        f"Host inner\n HostName 127.0.0.1\n Port {keys['port']}\n IdentityFile {keys['inner']}\n ProxyJump gate\n"
    )
    url = f"ssh://inner{server.folder / 'root'}"
    return server.options(url=url, identity="", ssh_config=config, known_hosts=known)


AT_GATE = ["name of gate", "TCP of gate", "host key of gate", "login of gate"]


@needs_sshd
def test_the_steps_of_a_hop_name_it(server: Server, gate: Server, here: Path) -> None:
    configure(**way(here, gate, server))
    said = typed(here, "targets", "test", "my-box")
    assert passed(said) == [*AT_GATE, "TCP", "host key", "login", *INSIDE], said.out


@needs_sshd
@pytest.mark.parametrize(
    ("what", "code", "good", "name"),
    [
        ("outer", 7, 3, "login of gate"),
        ("port", 5, 4, "TCP"),
        ("inner", 7, 6, "login"),
    ],
)
def test_the_hop_that_fails_is_told_from_the_target(
    what: str, code: int, good: int, name: str, server: Server, gate: Server, here: Path
) -> None:
    wrong = free_port() if what == "port" else make_key(here / "other")
    configure(**way(here, gate, server, **{what: wrong}))
    said = typed(here, "targets", "test", "my-box")
    assert said.code == code
    assert passed(said) == [*AT_GATE, "TCP", "host key", "login"][:good]
    assert failed(said).startswith(f"{name}: my-box: ")
    assert ("@gate" in failed(said)) is (what == "outer")


# Packages that are missing here


def without_packages(folder: Path) -> dict[str, str]:
    """The environment of a person who has not installed the extra `ssh`."""
    for name in ("fabric", "paramiko"):
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError(name='{name}')\n")
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


def test_without_its_packages_every_verb_says_what_to_install(here: Path, tmp_path: Path) -> None:
    typed(here, "targets", "add", "my-box", "ssh://127.0.0.1:1")
    bare = without_packages(tmp_path)
    install = "pip install 'offload-broker[ssh]'"
    said = typed(here, "targets", "test", "my-box", **bare)
    assert (said.code, passed(said)) == (4, [])
    assert failed(said).endswith(f"is not installed here; type: {install}")
    row = typed(here, "targets", "ls", **bare).lines[0]
    assert row.startswith("my-box\tssh\tnot installed\t")
    assert install in row
    trust = typed(here, "targets", "trust", "my-box", **bare)
    assert (trust.code, install in trust.err) == (4, True)


def test_once_installed_the_next_command_uses_them(here: Path, tmp_path: Path) -> None:
    typed(here, "targets", "add", "my-box", "ssh://127.0.0.1:1")
    typed(here, "targets", "ls", **without_packages(tmp_path))
    row = typed(here, "targets", "ls").lines[0]
    assert "connection refused" in row
    assert "asked again" not in row


def test_without_its_packages_a_job_ends_with_4_or_runs_here_and_one_line_says_so(here: Path, tmp_path: Path) -> None:
    typed(here, "targets", "add", "my-box", "ssh://127.0.0.1:1")
    bare, install = without_packages(tmp_path), "pip install 'offload-broker[ssh]'"
    alone = job(here, "--on", "my-box", **bare)
    assert alone.code == 4
    assert "is not installed here" in alone.err
    assert install in alone.err
    moved = job(here, **bare)
    assert moved.code == 0
    (line,) = [line for line in moved.err.splitlines() if "my-box" in line]
    assert install in line
    assert line.endswith("going on with local")
    assert "asked again" not in moved.err

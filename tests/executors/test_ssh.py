"""The SSH executor against a real sshd: it passes what every executor must, and keeps promises of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executors.base import Executor, Lost, Span, TransferFailed, Unreachable
from executors.ssh import SSHExecutor, command
from executors.ssh.address import Address
from tests.executors.conformance import ExecutorConformance
from tests.executors.sshd import Server, free_port, needs_sshd, sshd
from tests.executors.test_local import tmpfs

pytestmark = needs_sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("ssh")) as server:
        yield server


class TestSSH(ExecutorConformance):
    """What every executor must do."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, server: Server) -> Iterator[Executor]:
        with SSHExecutor("box", server.options()) as executor:
            yield executor

    @pytest.fixture(autouse=True)
    def _folder(self, server: Server, tmp_path: Path) -> None:
        self.server, self.folder = server, tmp_path

    def unreachable(self) -> Executor:
        return SSHExecutor("box", self.server.options(url=f"ssh://127.0.0.1:{free_port()}"))

    @contextmanager
    def small_disk(self) -> Iterator[Executor]:
        with tmpfs(self.folder) as root:
            url = f"ssh://127.0.0.1:{self.server.port}{root}"
            with SSHExecutor("box", self.server.options(url=url)) as executor:
                yield executor


def said(executor: SSHExecutor, *argv: str) -> str:
    return executor.run(argv).stdout.decode()


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "busybox", "zsh", "ksh", "fish", "tcsh"])
def test_any_login_shell_passes_a_script_on_untouched(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    words = ["a b", "it's", '"', "$HOME", "`id`", "\\0101", "\\n", "!!", "\n", "~", "é\U0001f600", "%s", "#", "*"]
    hexed = " ".join(f"'{word}'" if "'" not in word else f'"{word}"' for word in words)
    script = f"for word in {hexed}; do printf %s \"$word\" | od -An -tx1 | tr -d ' \\n'; echo; done"
    start = [shell, "sh"] if shell == "busybox" else [shell]
    done = subprocess.run([*start, "-c", command.line(script)], capture_output=True, text=True, check=True)
    assert [bytes.fromhex(line).decode() for line in done.stdout.splitlines()] == words


def test_what_the_login_files_say_is_not_part_of_a_reply(tmp_path: Path) -> None:
    if Path(pwd.getpwuid(os.getuid()).pw_shell).name != "bash":
        pytest.skip("only bash reads a login file for a command")
    with sshd(tmp_path) as server:
        (server.home / ".bashrc").write_text("echo welcome; echo careful >&2; touch ~/was-read\n")
        with SSHExecutor("box", server.options()) as executor:
            done = executor.run(["sh", "-c", "echo out; echo err >&2"])
            loud = executor.run([executor.python, "-c", "import sys; sys.stderr.write('x' * 300_000)"])
        assert (server.home / "was-read").exists()
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert set(loud.stderr) == set(b"x")


def test_the_root_is_in_the_home_unless_the_url_says_where(tmp_path: Path) -> None:
    with sshd(tmp_path) as server:
        place = f"ssh://127.0.0.1:{server.port}"
        for path, root in [("", ".offload"), ("/", ".offload"), ("/~/deep/er", "deep/er"), ("/~/a%20b'c", "a b'c")]:
            with SSHExecutor("box", server.options(url=place + path)) as executor:
                assert said(executor, "pwd") == f"{server.home / root}\n"
            assert (server.home / root).stat().st_mode & 0o777 == 0o700


def test_a_root_that_cannot_be_made_is_a_sentence(server: Server) -> None:
    url = f"ssh://127.0.0.1:{server.port}/dev/null/root"
    with pytest.raises(Unreachable, match=r"box: cannot use /dev/null/root there: .*dev/null"):
        SSHExecutor("box", server.options(url=url)).__enter__()


def test_a_root_that_is_deleted_under_us_is_a_lost_target(tmp_path: Path) -> None:
    with sshd(tmp_path) as server, SSHExecutor("box", server.options()) as executor:
        shutil.rmtree(server.folder / "root")
        with pytest.raises(Lost, match=r"commands cannot be started there: .*root"):
            executor.run(["true"])


def only_these(folder: Path, **programs: str) -> Path:
    """A folder for PATH with what a set-up needs, and these scripts."""
    folder.mkdir()
    for name in ("mkdir", "printenv", "tail"):
        (folder / name).symlink_to(str(shutil.which(name)))
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def test_an_old_python_is_passed_over_for_one_that_will_do(tmp_path: Path) -> None:
    path = only_these(tmp_path / "bin", python3="exit 1", python=f'exec {sys.executable} "$@"')
    with sshd(tmp_path, PATH=str(path)) as server, SSHExecutor("box", server.options()) as executor:
        assert said(executor, executor.python, "-c", "print(2 + 2)") == "4\n"
        assert Path(executor.python).is_absolute()


def test_a_python_that_only_the_login_shell_knows_is_found(tmp_path: Path) -> None:
    path = only_these(tmp_path / "bin")
    with sshd(tmp_path, PATH=str(path)) as server:
        own = only_these(tmp_path / "own", python3=f'exec {sys.executable} "$@"')
        for name in (".profile", ".bash_profile", ".zprofile"):
            (server.home / name).write_text(f"echo welcome; export PATH={own}\n")
        with SSHExecutor("box", server.options()) as executor:
            assert said(executor, executor.python, "-c", "print(2 + 2)") == "4\n"


def test_a_machine_without_python_says_what_it_needs(tmp_path: Path) -> None:
    path = only_these(tmp_path / "bin", python3="exit 1")
    with sshd(tmp_path, PATH=str(path)) as server:
        for name in (".profile", ".bash_profile", ".zprofile"):
            (server.home / name).write_text(f"export PATH={path}\n")
        with pytest.raises(Unreachable, match=r"needs Python 3\.8 or newer on box"):
            SSHExecutor("box", server.options()).__enter__()


def test_a_part_that_cannot_be_written_says_why_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 10)
    with SSHExecutor("box", server.options()) as executor:
        executor.run(["sh", "-c", "mkdir -p files; echo > files/blocked"])
        span = Span(0, 10)
        with pytest.raises(TransferFailed, match=r"files/blocked/below could not be written: (ENOTDIR|EEXIST)"):
            executor.put(source, span, "files/blocked/below")
        executor.run(["mkdir", "-p", "files/folder/inside"])
        with pytest.raises(TransferFailed, match="files/folder"):
            executor.put(source, span, "files/folder")
        assert said(executor, "find", "files", "-name", "*.tmp") == ""
        assert executor.get("files/blocked", span) == b"\n"


def test_looking_at_an_executor_does_not_import_paramiko() -> None:
    code = "import sys, executors; executors.executor_class('ssh')('x', {}); sys.exit('paramiko' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("url", "host", "user", "port", "root"),
    [
        ("ssh://box", "box", None, None, "~/.offload"),
        ("ssh://me@My-Box:2222/mnt/scratch/", "My-Box", "me", 2222, "/mnt/scratch"),
        ("ssh://[::1]:22", "::1", None, 22, "~/.offload"),
        ("ssh://me%40corp@box/~/x", "box", "me@corp", None, "~/x"),
    ],
)
def test_urls(url: str, host: str, user: str | None, port: int | None, root: str) -> None:
    address = Address.of("box", {"url": url})
    assert (address.host, address.user, address.port, address.root) == (host, user, port, root)

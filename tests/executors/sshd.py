"""A real sshd, started as a child on a high port of this machine with a configuration, keys and files of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path
from random import Random

import psutil
import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
PRIVILEGE_SEPARATION = Path("/run/sshd")

CONFIG = """
ListenAddress {address}
Port {port}
HostKey {host_key}
AuthorizedKeysFile {authorized_keys}
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
MaxStartups 100
Subsystem sftp {sftp}
{more}
SetEnv {environment}
"""


def why_not() -> str:
    """Say why no sshd can be started here; empty when one can."""
    if SSHD is None or shutil.which("ssh-keygen") is None:
        return "there is no sshd here; install openssh-server"
    if os.getuid() == 0 and not PRIVILEGE_SEPARATION.is_dir():
        try:
            PRIVILEGE_SEPARATION.mkdir(mode=0o755)
        except OSError as error:
            return f"sshd needs {PRIVILEGE_SEPARATION}: {error.strerror}"
    return ""


needs_sshd = pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one")


def free_port() -> int:
    """A port on which nothing listens, and which the system gives to nobody who asks for any."""
    while True:
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", Random().randrange(10_000, 32_000)))
            return int(sock.getsockname()[1])


def make_key(path: Path) -> Path:
    """Make a key pair without a passphrase."""
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path


def public(key: Path) -> str:
    """The kind and public half of a key, as known_hosts has them."""
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


def fingerprint(key: Path) -> str:
    """What OpenSSH itself says the key's fingerprint is."""
    command = ["ssh-keygen", "-l", "-E", "sha256", "-f", str(key.with_suffix(".pub"))]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]


@dataclass
class Server:
    """One sshd. `home` is the HOME that commands see; `known_hosts` and `user_key` are the client's.

    `wrapper` starts it, in a namespace perhaps; `sftp` serves SFTP, `more` are lines of its configuration.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    wrapper: Sequence[str] = ()
    address: str = "127.0.0.1"
    sftp: str = "internal-sftp"
    more: str = ""

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        self.port = free_port()
        self.host_key, self.user_key = make_key(self.folder / "host"), make_key(self.folder / "user")
        self.known_hosts, self.ssh_config = self.folder / "known_hosts", self.folder / "ssh_config"
        self.known_hosts.write_text(f"[{self.address}]:{self.port} {public(self.host_key)}\n")
        self.ssh_config.touch()
        shutil.copy(self.user_key.with_suffix(".pub"), self.folder / "authorized_keys")

    @property
    def url(self) -> str:
        """The target's url: its root is the folder's `root`."""
        return f"ssh://{getuser()}@{self.address}:{self.port}{self.folder / 'root'}"

    def options(self, **changed: object) -> dict[str, str]:
        """A target's options for this server."""
        standard = {"url": self.url, "known_hosts": self.known_hosts, "identity": self.user_key}
        return {key: str(value) for key, value in {**standard, "ssh_config": self.ssh_config, **changed}.items()}

    def start(self) -> None:
        """Start, and wait until it answers."""
        values = " ".join(f"{key}={value}" for key, value in {"HOME": self.home, **self.environment}.items())
        config = self.folder / "sshd_config"
        config.write_text(
            CONFIG.format(
                address=self.address,
                sftp=self.sftp,
                more=self.more,
                port=self.port,
                host_key=self.host_key,
                authorized_keys=self.folder / "authorized_keys",
                environment=values,
            )
        )
        with (self.folder / "sshd.log").open("ab") as log:
            self._said = log.tell()
            self.process = subprocess.Popen([*self.wrapper, str(SSHD), "-D", "-e", "-f", str(config)], stderr=log)
        while f"Server listening on {self.address} port" not in self._log():
            assert self.process.poll() is None, self._log()
            time.sleep(0.02)

    def _log(self) -> str:
        """What it has said since its last start."""
        return (self.folder / "sshd.log").read_bytes()[self._said :].decode()

    def kill(self) -> None:
        """Kill sshd and every connection it serves; what runs on the machine goes on."""
        for process in self.sessions():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.wait()

    def sessions(self) -> list[psutil.Process]:
        """The processes of open connections."""
        children = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        return [child for child in children if _name(child).startswith("sshd")]

    def pause(self) -> None:
        """Let nothing be answered any more, as if the network were cut."""
        for process in self.sessions():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        self.process.send_signal(signal.SIGSTOP)


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Serve."""
    server.start()
    try:
        yield server
    finally:
        server.kill()


def sshd(folder: Path, **environment: str) -> AbstractContextManager[Server]:
    """Serve from a folder of its own."""
    return running(Server(folder / "sshd", environment))

"""How the command cgpu behaves. Its executable asks here, over a socket in its configuration folder."""

from __future__ import annotations

import ast
import base64
import json
import re
import shlex
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from executors.colab.places import new_hash
from tests.colab.double import Double
from tests.colab.double.asking import GUARD
from tests.colab.double.runtime import HEADER, NAMESPACE, Runtime, namespace, plain

END = "__cgpu_end__"
ESCAPES = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]|\r")
MOST_COPIED = 402_000_000


class Ended(Exception):
    """The command ends: its last words, and its status."""

    def __init__(self, said: str, status: int = 1) -> None:
        super().__init__(said)
        self.status = status


class Cgpu:
    """The command, for the user of a double. Knobs:

    - `start_seconds`: how long it takes to start, each time
    - `lose`: the next so many runs lose their connection when they have begun
    - `spoil`: the next so many runs lose a line of what was printed

    `calls` counts them by verb; `asked` are their words.
    """

    def __init__(self, google: Double) -> None:
        self.google, self.folder = google, google.folder / "cgpu"
        self.session = self.folder / "state/session.json"
        self.start_seconds, self.lose, self.spoil = 0.0, 0, 0
        self.calls, self.asked = Counter[str](), list[list[str]]()
        self._over = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._threads: list[threading.Thread] = []
        self._client = plain()
        (self.folder / "first.json").write_bytes(self.session.read_bytes())
        with _in(self.folder) as near:
            self._listener.bind(f"{near}/double.sock")
        self._listener.listen(64)
        self._accepts = threading.Thread(target=self._accept)
        self._accepts.start()

    def connect(self) -> bytes:
        """Log in anew, as `cgpu connect` does with its user; returns what is in the session's file."""
        session = json.loads((self.folder / "first.json").read_bytes())
        session["refreshToken"] = self.google.oauth.issue()
        self.session.write_text(json.dumps(session))
        self.session.chmod(0o600)
        return self.session.read_bytes()

    def close(self) -> None:
        """End all calls."""
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepts.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=[link])
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()

    def _serve(self, link: socket.socket) -> None:
        with link, suppress(BrokenPipeError, ConnectionResetError):  # it was killed, and what it started goes on
            with link.makefile("rb") as lines:
                words, here = ast.literal_eval(lines.readline().decode())
            try:
                self._over.wait(self.start_seconds)
                self._obey(link, words, Path(here))
                status = 0
            except Ended as ended:
                link.sendall(f"{ended}\n".encode() if str(ended) else b"")
                status = ended.status
            link.sendall(b"\0%d" % status)

    def _obey(self, link: socket.socket, words: Sequence[str], here: Path) -> None:
        verb, *rest = words
        self.calls[verb] += 1
        self.asked.append(list(words))
        if verb == "logout":
            self.session.unlink(missing_ok=True)
            return
        bearer = self._log_in(link)
        who = f"Authenticated as {self.google.oauth.account}"
        if verb == "status":
            gpus = json.loads(self._get("ccu-info", bearer).removeprefix(GUARD))["eligibleGpus"]
            link.sendall(f"{who}. Eligible GPUs: {', '.join(gpus)}\n".encode())
            return
        link.sendall(f"{who}\n".encode())
        machine, token = self._runtime(bearer)
        if verb == "copy":
            self._copy(machine, token, here / rest[0], rest[1])
        elif rest[:1] == ["--"]:
            self._run(link, machine, rest[1:])
        else:
            raise Ended("error: unknown option", 1)

    # Logging in

    def _log_in(self, link: socket.socket) -> str:
        """A header. Whatever goes wrong, it thinks that the login is over, and deletes it."""
        if not self.session.exists():
            raise Ended("Missing Colab OAuth credentials.")
        token = json.loads(self.session.read_bytes())["refreshToken"]
        config = json.loads((self.folder / "config.json").read_bytes())
        client = {"client_id": config["clientId"], "client_secret": config["clientSecret"]}
        form = {"grant_type": "refresh_token", "refresh_token": token, **client}
        try:
            answer = self._client.post(f"{config['colabApiDomain']}/token", data=form)
        except httpx.TransportError as error:
            self.session.unlink(missing_ok=True)
            raise Ended("TypeError: fetch failed") from error
        if answer.status_code == 400:
            self.session.unlink(missing_ok=True)
            self._wait_for_a_person(link)
        if not answer.is_success:
            self.session.unlink(missing_ok=True)
            raise Ended(f"Error: token endpoint answered {answer.status_code}")
        return f"Bearer {answer.json()['access_token']}"

    def _wait_for_a_person(self, link: socket.socket) -> None:
        link.sendall(b"Starting OAuth login...\n")
        link.settimeout(0.05)
        while not self._over.is_set():
            with suppress(TimeoutError):
                if link.recv(1) == b"":
                    raise BrokenPipeError
        raise Ended("")

    # Taking a runtime

    def _get(self, call: str, bearer: str, method: str = "GET", **query: str) -> str:
        headers = {"Authorization": bearer, "X-Colab-Client-Agent": "cgpu", "X-Colab-Tunnel": "Google"}
        headers["X-Goog-Colab-Token"] = query.pop("xsrf", "")
        place = f"{self.google.url}/tun/m/{call}"
        try:
            answer = self._client.request(method, place, params={"authuser": "0", **query}, headers=headers)
        except httpx.TransportError as error:
            raise Ended("TypeError: fetch failed") from error
        if not answer.is_success:
            said = {412: "TooManyAssignmentsError: too many runtimes"}
            raise Ended(f"Error: {said.get(answer.status_code, answer.status_code)}")
        return answer.text

    def _runtime(self, bearer: str) -> tuple[Runtime, str]:
        """The first runtime that the account has; else one is taken, by whoever looks meanwhile another."""
        there = json.loads(self._get("assignments", bearer).removeprefix(GUARD))["assignments"]
        endpoint = there[0]["endpoint"] if there else self._take(bearer)
        way = json.loads(self._get("runtime-proxy-token", bearer, endpoint=endpoint, port="8080").removeprefix(GUARD))
        found = self.google.control.assignments.get(endpoint)
        if found is None:  # it vanished this moment
            raise Ended("TypeError: fetch failed")
        return found.runtime, way["token"]

    def _take(self, bearer: str) -> str:
        wanted = {"nbh": new_hash(), "variant": "GPU", "accelerator": self.google.control.eligible[0]}
        xsrf = json.loads(self._get("assign", bearer, **wanted).removeprefix(GUARD))["token"]
        taken = json.loads(self._get("assign", bearer, "POST", xsrf=xsrf, **wanted).removeprefix(GUARD))
        if taken["outcome"] in (1, 2):
            raise Ended("InsufficientQuotaError: You have insufficient quota to assign this server.")
        if taken["outcome"] == 5:
            raise Ended("DenylistedError: This account has been blocked from accessing Colab servers.")
        return str(taken["endpoint"])

    # What is done there

    def _copy(self, machine: Runtime, token: str, source: Path, place: str) -> None:
        """One PUT: no folder is made, and there is an end to its size."""
        data = source.read_bytes()
        if len(data) > MOST_COPIED:
            raise Ended("Error: Request Entity Too Large")
        model = {"type": "file", "format": "base64", "content": base64.b64encode(data).decode()}
        path = place.removeprefix("/") if place.startswith("/") else f"content/{place}"
        try:
            answer = self._client.put(f"{machine.url}/api/contents/{path}", json=model, headers={HEADER: token})
        except httpx.TransportError as error:
            raise Ended("exit 5") from error
        if not answer.is_success:
            raise Ended(f"Error: {answer.status_code} {answer.reason_phrase}")

    def _run(self, link: socket.socket, machine: Runtime, words: Sequence[str]) -> None:
        """Have a shell read the command and then the end marker: a command that reads takes the marker itself."""
        if machine.gone:
            raise Ended("exit 5")
        script = f"cd {shlex.quote(str(machine.disk))}\n{shlex.join(words)}\necho {END} $?\n"
        with subprocess.Popen(
            [*_entering(machine), "bash"],
            env=machine._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as shell:
            assert shell.stdin and shell.stdout
            with suppress(BrokenPipeError), shell.stdin:  # the machine has just gone
                shell.stdin.write(script.encode())
            if self.lose:
                self.lose -= 1
                shell.stdout.close()
                raise Ended("exit 5")
            self._tell(link, shell.stdout)

    def _tell(self, link: socket.socket, lines: Iterator[bytes]) -> None:
        """Tell what is printed, as the real one does: without blank lines, escapes and carriage returns."""
        for line in lines:
            if line.startswith(END.encode()):
                if status := int(line.split()[1]):
                    raise Ended("", status)
                return
            clean = ESCAPES.sub(b"", line)
            if self.spoil and len(clean) > 500:
                self.spoil -= 1
            elif clean.strip():
                link.sendall(clean)
        raise Ended("exit 5")


def _entering(machine: Runtime) -> list[str]:
    """The words that start a command within a machine's namespaces."""
    user = [] if namespace() == NAMESPACE else ["--user", "--preserve-credentials"]
    return ["nsenter", "--target", str(machine._init().pid), *user, "--mount", "--pid", "--"]


@contextmanager
def _in(folder: Path) -> Iterator[str]:
    """A short name of a folder: those of sockets must be."""
    import os

    opened = os.open(folder, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{opened}"
    finally:
        os.close(opened)


@contextmanager
def cgpu(google: Double, patch: pytest.MonkeyPatch) -> Iterator[Cgpu]:
    """Put it on PATH, logged in as the double's user."""
    google.log_in_cgpu()
    found = Cgpu(google)
    patch.setenv("PATH", str(Path(__file__).parent), prepend=":")
    try:
        yield found
    finally:
        found.close()

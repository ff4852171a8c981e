"""Where a Jupyter target is and how one gets in: what its url and options say."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from executors.base import Refused, checked
from executors.options import CONFIGURATION, at_home, seconds, wrong

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
DEFAULT_ROOT = "offload-root"
SCHEMES = {"jupyter+http": "http", "jupyter+https": "https"}
EXAMPLE = "write it as in jupyter+https://host:8888/base/"


class Access(Protocol):
    """The way into a server: the url that all of its paths are under, and the headers that let us in."""

    @property
    def url(self) -> str:
        """`http://host:port/base/`, with the slash."""

    @property
    def relogin(self) -> str:
        """What to do when the server does not let us in."""

    def headers(self) -> Mapping[str, str]:
        """What each request must carry. Raises ExecutorError when there is nothing that would let us in."""

    def renew(self) -> bool:
        """Get other headers after the server has refused these; False when there are none to be had."""


@dataclass(frozen=True)
class Address:
    """`jupyter+http[s]://host[:port][/base/]`, and the options that go with it.

    `root` is a folder under the server's own root, made when it is not there. `ca` is a file of certificates to trust
    in place of the system's. `timeout` is the most seconds that connecting may take, `silence` those that an open
    connection may stay without an answer.
    """

    name: str
    url: str
    token_file: Path
    root: str
    ca: Path | None
    timeout: float
    silence: float

    @classmethod
    def of(cls, name: str, options: Mapping[str, str]) -> Address:
        """Read a target's options. Raises Refused when they make no sense; a token in the url is one that leaked."""
        return cls(
            name=name,
            url=_url(name, options.get("url", "")),
            token_file=_token_file(name, options),
            root=_root(name, options.get("root", DEFAULT_ROOT)),
            ca=at_home(options["ca"]) if options.get("ca") else None,
            timeout=seconds(name, options, "connect_timeout", CONNECT_SECONDS),
            silence=seconds(name, options, "silence", SILENCE_SECONDS),
        )


class TokenFile:
    """The access that a token in a file of the user's gives. Raises Refused when that file cannot be used."""

    def __init__(self, name: str, url: str, path: Path) -> None:
        self._name = name
        self._path = path
        self.url = url
        self.relogin = "put a new token into the target's token_file"
        self._token = self._read()

    def headers(self) -> Mapping[str, str]:
        """The token, as Jupyter wants it."""
        return {"Authorization": f"token {self._token}"}

    def renew(self) -> bool:
        """Read the file again: the user may have put a new token there."""
        before, self._token = self._token, self._read()
        return self._token != before

    def _read(self) -> str:
        try:
            with self._path.open(encoding="ascii") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                token = file.read(10_000).strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise self._unusable(f"cannot be read: {why}", "install -m 600 /dev/stdin") from error
        if mode & 0o077:
            raise self._unusable(f"can be read by others (its mode is {mode:04o})", "chmod 600")
        if not token.isprintable() or len(token.split()) != 1:
            raise self._unusable("holds no token, which is one word", "install -m 600 /dev/stdin")
        return token

    def _unusable(self, why: str, mend: str) -> Refused:
        said = f"{self._name}: its token file {self._path} {why}"
        return Refused(said, step=CONFIGURATION, hint=f"{mend} {shlex.quote(str(self._path))}")


def _url(name: str, text: str) -> str:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise wrong(name, f"its url cannot be read: {error}; {EXAMPLE}") from error
    if url.scheme not in SCHEMES or not url.hostname:
        raise wrong(name, f"its url names no Jupyter server; {EXAMPLE}")
    if url.query or url.fragment or "@" in url.netloc:
        raise wrong(name, "a url must hold no token or password; put the token into a file and name it as token_file")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    place = f"{host}:{port}" if port else host
    return f"{SCHEMES[url.scheme]}://{place}{url.path.rstrip('/')}/"


def _token_file(name: str, options: Mapping[str, str]) -> Path:
    if not options.get("token_file"):
        raise wrong(name, "needs token_file, a file of mode 0600 that holds the server's token")
    return at_home(options["token_file"])


def _root(name: str, root: str) -> str:
    try:
        return checked(root.strip("/"))
    except ValueError as error:
        said = f"{root!r} cannot be its root: that is a folder under the server's own, and not a hidden one"
        raise wrong(name, said) from error

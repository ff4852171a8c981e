"""A login to Google that was saved, ours or cgpu's, and the access tokens it gives.

Under the target's state folder: `login.json`, the client and the refresh token that `offload targets login` got;
`access.json`, the access token that it gave last, for all processes; `access.lock`, whose turn it is to get another.
Files of cgpu's are read, and never anything else: its own command deletes its login when it is offline.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from executors.base import Refused
from executors.colab import files
from executors.colab.address import Address
from executors.colab.client import Client, Denied, Granted, ask, cgpu_config, cgpu_file
from executors.colab.places import LOGIN

LOGIN_FILE, ACCESS_FILE, LOCK_FILE = "login.json", "access.json", "access.lock"

GOOD_SECONDS = 60.0
"""How long an access token must still be good for, to be used."""

TURN_SECONDS = 0.05
"""Between two looks at whose turn it is."""


@dataclass(frozen=True)
class Key:
    """A login: the refresh token, and the client it was given to, for no other can use it."""

    client: Client
    refresh_token: str = field(repr=False)
    of_cgpu: bool = False

    @property
    def mark(self) -> str:
        """What tells this login from another, and tells nothing else."""
        return hashlib.sha256(self.refresh_token.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Token:
    """An access token of the login with that mark, good until `until`, in seconds since 1970."""

    text: str = field(repr=False)
    until: float
    mark: str

    @classmethod
    def of(cls, key: Key, granted: Granted) -> Self:
        """The token that was just granted."""
        return cls(granted.access_token, time.time() + granted.seconds, key.mark)

    def good(self, refused: str) -> bool:
        """Whether it can be used for a while, and is another than the one that was refused."""
        return self.text != refused and time.time() + GOOD_SECONDS < self.until


class Login:
    """The access tokens of the login that is saved for a target. Safe from several threads, and processes."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._held: Token | None = None
        self._given = threading.local()  # several threads may have one token refused, which asks for one other

    def token(self) -> str:
        """An access token good for a minute at least.

        Raises Refused when nobody is logged in or Google takes the login no more, Unreachable when Google cannot be
        asked, NotInstalled. Whatever it raises, the login stays as it was saved.
        """
        return self._token(refused="")

    def renew(self) -> bool:
        """Get another token after this thread's was refused, though it should have been good. Raises as `token`."""
        refused = getattr(self._given, "text", "")
        return self._token(refused) != refused

    def _token(self, refused: str) -> str:
        held = self._held
        if held is None or not held.good(refused):
            with _turn(self._address):
                held = self._held = self._shared(refused)
        self._given.text = held.text
        return held.text

    def _shared(self, refused: str) -> Token:
        key = saved(self._address)
        token = _read_token(self._address.state)
        if token is None or token.mark != key.mark or not token.good(refused):
            token = Token.of(key, _refreshed(self._address, key))
            with suppress(Refused):  # others, and the next command, will have to ask for one of their own
                files.write(self._address, ACCESS_FILE, vars(token), LOGIN)
        return token


def saved(address: Address) -> Key:
    """The login that is saved: ours, else cgpu's. Raises Refused when there is none, or it cannot be used."""
    found = _ours(address) or _of_cgpu(address)
    if found is None:
        raise needs_login(address, "you are not logged in to Colab")
    return found


def save(address: Address, key: Key, granted: Granted | None = None) -> None:
    """Save a login as ours, and the access token that came with it. Raises Refused when it cannot be written."""
    entries = {**vars(key.client), "refresh_token": key.refresh_token}
    files.write(address, LOGIN_FILE, entries, LOGIN)
    if granted:
        files.write(address, ACCESS_FILE, vars(Token.of(key, granted)), LOGIN)


def forget(address: Address) -> bool:
    """Delete our login, if there is one; says whether. Raises Refused when it cannot be deleted."""
    there = (address.state / LOGIN_FILE).exists()
    try:
        for name in (LOGIN_FILE, ACCESS_FILE):
            (address.state / name).unlink(missing_ok=True)
    except OSError as error:
        said = f"{address.name}: the login in {address.state} cannot be deleted: {error.strerror}"
        raise Refused(said, step=LOGIN) from error
    return there


def needs_login(address: Address, why: str) -> Refused:
    """The error that a login mends."""
    return Refused(f"{address.name}: {why}", step=LOGIN, hint=f"offload targets login {address.name}")


def _ours(address: Address) -> Key | None:
    file = address.state / LOGIN_FILE
    try:
        entries = _read_private(file)
        client = Client(str(entries["client_id"]), str(entries["client_secret"]))
        return Key(client, str(entries["refresh_token"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except _Exposed as error:
        said = f"{address.name}: the login in {file} can be read by others (its mode is {error})"
        raise Refused(said, step=LOGIN, hint=f"chmod 600 {shlex.quote(str(file))}") from error
    except OSError as error:
        raise needs_login(address, f"the login in {file} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError):
        raise needs_login(address, f"the login in {file} is damaged") from None  # what was read is a secret


def _of_cgpu(address: Address) -> Key | None:
    config = cgpu_config(address)
    folder = Path(config["storageDir"]) if config.get("storageDir") else address.cgpu / "state"
    token = cgpu_file(address, folder / "session.json").get("refreshToken")
    client = Client.of_cgpu(address)
    return Key(client, str(token), of_cgpu=True) if client and token else None


def _refreshed(address: Address, key: Key) -> Granted:
    try:
        return ask(address, key.client, grant_type="refresh_token", refresh_token=key.refresh_token)
    except Denied as error:
        whose = "the login of cgpu" if key.of_cgpu else "the saved login"
        if str(error) == "invalid_grant":
            why = "it was revoked or has expired (after 7 days, while an OAuth client is in testing)"
        else:
            why = f"it answers {error} to the OAuth client"
        raise needs_login(address, f"Google does not take {whose} any more: {why}") from error


def _read_token(folder: Path) -> Token | None:
    """The access token that any process got last; None where another is to be had anyway."""
    with suppress(_Exposed, OSError, ValueError, LookupError):  # what cannot be used is replaced
        entries = _read_private(folder / ACCESS_FILE)
        return Token(str(entries["text"]), float(entries["until"]), str(entries["mark"]))
    return None


class _Exposed(Exception):
    """Others can read a file that holds a secret; the text is its mode."""


def _read_private(file: Path) -> dict[str, Any]:
    """Read a file of ours. Raises _Exposed, OSError or ValueError."""
    with file.open("rb") as opened:
        mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
        if mode & 0o077:
            raise _Exposed(f"{mode:04o}")
        entries = json.loads(opened.read(100_000))
    if not isinstance(entries, dict):
        raise ValueError("no JSON object")
    return entries


@contextmanager
def _turn(address: Address) -> Iterator[None]:
    """Wait while another thread or process gets a token, which will do for us; but not for one that was stopped."""
    lock = _open_lock(address.state)
    try:
        deadline = time.monotonic() + address.timeout
        while lock is not None and not _locked(lock) and time.monotonic() < deadline:
            time.sleep(TURN_SECONDS)
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _open_lock(folder: Path) -> int | None:
    """The lock's file; None where none can be made: then each asks for a token of its own."""
    with suppress(OSError):
        files.own(folder)
        return os.open(folder / LOCK_FILE, os.O_WRONLY | os.O_CREAT, 0o600)
    return None


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: as where there is no file
        return True
    return True
